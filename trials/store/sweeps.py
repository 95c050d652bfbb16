"""Sweeps as they were run, kept below a store: the same sweep twice is one file, and its name says its content."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from urllib.parse import quote

from trials.errors import ApetError
from trials.store.files import Files


def save(files: Files, name: str, text: str) -> str:
    """Keep a sweep; its path below the root."""
    path = _path(name, text)
    files.write(path, text.encode())
    return path


def as_run(files: Files, name: str) -> Iterator[tuple[str, str]]:
    """Every sweep of a name, the last first: its path or URI, as commands take it, and its text.

    Raises:
        ApetError: one is damaged.
    """
    ours = re.compile(rf"sweeps/{re.escape(_escaped(name))}-[0-9a-f]{{8}}\.yaml")
    found = [entry for entry in files.listing("sweeps") if ours.fullmatch(entry.path)]
    for entry in sorted(found, key=lambda entry: (entry.modified, entry.path), reverse=True):
        text = files.kept(entry.path).decode(errors="replace")
        if entry.path not in (_path(name, text), _older_path(name, text)):
            raise ApetError(
                f"store {files.uri}: {entry.path} is damaged: it isn't the sweep that its name is made "
                "of; copy it again, or move it away"
            )
        yield files.address(entry.path), text


def _path(name: str, text: str) -> str:
    digest = hashlib.sha256(f"{name}\n{text}".encode()).hexdigest()[:8]  # `A` and `a` may be one name to a disk
    return f"sweeps/{_escaped(name)}-{digest}.yaml"


def _older_path(name: str, text: str) -> str:
    """Where releases before names were escaped kept a sweep."""
    return f"sweeps/{_escaped(name)}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.yaml"


def _escaped(name: str) -> str:
    """A sweep's name as the beginning of a file's: no two become one, and none is hidden."""
    safe = quote(name, safe="")
    return f"%{ord(safe[0]):02X}{safe[1:]}" if safe.startswith((".", "_")) else safe
