"""Encoded splits on disk, so that a task is read and tokenised once, and shared by every trial and process.

An entry is an Arrow file, named by what went in: content of the data, row limits, split, encoding. It is opened by
memory mapping, so that processes share its pages. It is written under another name and renamed, so that two processes
that build it at once both win, and one that can't be read is built again.
"""

from __future__ import annotations

import contextlib
import hashlib
import uuid
from pathlib import Path

import pyarrow as pa

from trials.canonical import canonical
from trials.sources import counts
from trials.sources.digests import cache_folder, folder_digest
from trials.sources.folders import data_files
from trials.sources.locations import package_version
from trials.tasks.spec import Task
from trials.trial import TaskRef
from workers.rows.encode import Encoding
from workers.rows.encoded import Encoded


def key(ref: TaskRef, task: Task, location: str, split: str, how: Encoding) -> str:
    """The name of an entry: 64 hex digits over all that its content follows from.

    Raises:
        ApetError: a folder that isn't there or lacks a file.
    """
    limits = (ref.train_rows, ref.validation_rows, ref.test_rows)
    rules = (counts.CUT_ROWS, counts.CUT_SHARE)
    content = [_content(task, location), limits, rules, split, how.key]
    return hashlib.sha256(canonical(content).encode()).hexdigest()


def load(name: str) -> Encoded | None:
    """An entry, None where there is none that can be read."""
    path = _path(name)
    if path is None or not path.is_file():
        return None
    try:
        with pa.memory_map(str(path)) as file:
            table = pa.ipc.open_file(file).read_all()
        table.validate(full=True)
        return Encoded.from_arrow(table)
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
        return None


def save(name: str, encoded: Encoded) -> None:
    """Write an entry whole or not at all; a cache that can't be written only costs time."""
    path = _path(name)
    if path is None:
        return
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        table = encoded.to_arrow().combine_chunks()
        with pa.OSFile(str(partial), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
        partial.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _content(task: Task, location: str) -> str:
    """What lies at a location now, whatever its name: the files themselves, or a package's or the hub's version."""
    kind, _, name = location.partition(":")
    if kind == "hub":
        return f"{location} {task.hub_config} {canonical(task.splits)}"
    if kind == "package":
        return f"{location} {package_version(name)}"
    files = data_files(Path(name if kind == "folder" else location), task.needed, f"task {task.name}")
    return f"folder {folder_digest(files.values())}"


def _path(name: str) -> Path | None:
    """Where an entry lies; None where there is no home to keep it in."""
    root = cache_folder()
    return root and root / "encoded" / f"{name}.arrow"
