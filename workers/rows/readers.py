"""Reads the tables of a task's splits: local files and the reviews package as ``plan`` reads them, the hub's with
``datasets``, which is imported where it is used: that takes seconds.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trials.errors import ApetError
from trials.sources.counts import REVIEWS_FILE
from trials.sources.folders import data_files
from trials.sources.locations import REVIEWS
from trials.sources.rows import rows_of
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
    return {split: (_file(task, path, task.needed), str(path)) for split, path in files.items()}


def _file(task: Task, path: Path, columns: Sequence[str]) -> Table:
    """One local file: some of its columns."""
    rows = list(rows_of(path, columns, task))
    return dict(zip(columns, zip(*rows, strict=True), strict=True))


def _reviews(task: Task, package: str) -> tuple[Table, str]:
    """The rows of one task in the reviews package, whose one file holds the train splits of two."""
    if package != REVIEWS:
        raise ApetError(f"package:{package} holds no rows of {task.name}; the package with film reviews is {REVIEWS}")
    path = package_folder(package, REVIEWS_FILE) / REVIEWS_FILE
    table = _file(task, path, ("text", "source", "label"))
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
