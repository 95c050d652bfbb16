"""Reads the tables of a task's splits with ``datasets``: local files, the reviews package, the hub.

Nothing is left behind on disk but the hub's own cache. ``datasets`` is imported where it is used: that takes seconds.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trials.errors import ApetError
from trials.sources.counts import REVIEWS_FILE
from trials.sources.folders import data_files
from trials.sources.locations import REVIEWS
from trials.tasks.spec import Task
from workers.backbone.weights import package_folder

Table = Mapping[str, Sequence[Any]]  # columns by name, all equally long


def read(task: Task, location: str) -> dict[str, tuple[Table, str]]:
    """The splits at a location, each with what messages call it (a file, a split of the hub).

    Raises:
        ApetError: nothing there, a file that can't be read, a hub that can't be reached.
    """
    kind, _, name = location.partition(":")
    if kind == "hub":
        hub_id, _, revision = name.partition("@")
        return _hub(task, hub_id, revision or task.revision)
    if kind == "package":
        return {"train": _reviews(task, name)}
    folder = Path(name if kind == "folder" else location)
    files = data_files(folder, task.needed, f"task {task.name}")
    return {split: (_answered(task, path, _file(path, task.needed)), str(path)) for split, path in files.items()}


def _file(path: Path, columns: Sequence[str]) -> Table:
    """One local file: the columns that a task needs; those of a CSV are texts."""
    from datasets import Dataset, Features, Value

    with _quiet() as cache:
        options: dict[str, Any] = {"cache_dir": cache, "keep_in_memory": True}
        try:
            if path.suffix == ".parquet":
                found = Dataset.from_parquet(str(path), columns=list(columns), **options)
            elif path.suffix == ".csv":
                # texts, whatever they look like: a review may read "null" or "1984"
                features = Features({name: Value("string") for name in columns})
                found = Dataset.from_csv(
                    str(path), features=features, usecols=list(columns), keep_default_na=False, **options
                )
            else:
                found = Dataset.from_json(str(path), **options)
        except Exception as error:  # datasets wraps what its readers raise in types of its own
            raise ApetError(f"{path}: {_why(path, error)}") from error
        return {name: found[name][:] for name in found.column_names if name in columns}


def _answered(task: Task, path: Path, table: Table) -> Table:
    """A CSV with its answers as what their texts spell: whole numbers, lists; any other file as it is."""
    name = task.answer_column
    if path.suffix != ".csv":
        return table
    if task.labels:
        return {**table, name: [int(label) if label.strip().isdecimal() else label for label in table[name]]}
    if isinstance(task.example[name], list):
        cells = enumerate(table[name], start=1)
        return {**table, name: [_listed(cell, f"{path}, row {number}, column {name}") for number, cell in cells]}
    return table


def _listed(cell: str, where: str) -> object:
    """A cell of CSV whose column may hold lists: the list that it spells, or the text that it is."""
    if not cell.lstrip().startswith("["):
        return cell
    found = _json(cell)
    if not isinstance(found, list):
        raise ApetError(
            f'{where}: {cell[:60]!r} begins with [ and is no JSON list; write ["a", "b"], or give .jsonl or .parquet'
        )
    return found


def _why(path: Path, error: Exception) -> str:
    """The first line of a file that is no JSON, else what the reader said."""
    if ".jsonl" in path.name:
        try:
            with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as lines:
                for number, line in enumerate(lines, start=1):
                    if line.strip() and not isinstance(_json(line), dict):
                        return f"line {number} is no JSON object: {line.strip()[:60]!r}; write one object a line"
        except (OSError, EOFError, UnicodeDecodeError) as problem:
            return f"can't be read ({problem})"
    cause = error.__cause__ or error
    return f"can't be read ({type(cause).__name__}: {str(cause).strip().splitlines()[0] if str(cause).strip() else ''})"


def _json(line: str) -> object:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _reviews(task: Task, package: str) -> tuple[Table, str]:
    """The rows of one task in the reviews package, whose one file holds the train splits of two."""
    if package != REVIEWS:
        raise ApetError(f"package:{package} holds no rows of {task.name}; the package with film reviews is {REVIEWS}")
    path = package_folder(package, REVIEWS_FILE) / REVIEWS_FILE
    table = _answered(task, path, _file(path, ("text", "source", "label")))
    mine = [i for i, source in enumerate(table["source"]) if source == task.name]
    if not mine:
        raise ApetError(f"package {package} holds no rows of {task.name}; it has {sorted(set(table['source']))}")
    return {name: [table[name][i] for i in mine] for name in ("text", "label")}, f"{path} ({task.name})"


def _hub(task: Task, hub_id: str, revision: str) -> dict[str, tuple[Table, str]]:
    """The labelled splits of a hub data set."""
    from datasets import load_dataset

    found: dict[str, tuple[Table, str]] = {}
    for split, hub_split in task.splits.items():
        if hub_split is None:
            continue
        where = f"hub data set {hub_id}{f' ({task.hub_config})' if task.hub_config else ''}, split {hub_split}"
        try:
            rows = load_dataset(hub_id, task.hub_config, revision=revision, split=hub_split)
        except Exception as error:  # the hub's clients raise their transport's errors too
            offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0") else ""
            said = str(error).strip().splitlines()
            raise ApetError(
                f"task {task.name}: tried the local hub cache and the hub{offline} for {where} at {revision}: "
                f"{type(error).__name__}: {said[0] if said else ''}; with no network, give a local folder: "
                f"{{name: {task.name}, data_dir: PATH}}, or set APET_DATA to a folder that holds {task.name}/"
            ) from error
        found[split] = {name: rows[name][:] for name in rows.column_names if name in task.needed}, where
    return found


@contextlib.contextmanager
def _quiet() -> Iterator[str]:
    """A cache folder that goes away, and no progress bars meanwhile."""
    from datasets.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with tempfile.TemporaryDirectory(prefix="apet-rows-") as cache:
            yield cache
    finally:
        if shown:
            logging.enable_progress_bar()
