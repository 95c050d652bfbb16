"""One block of a sweep file with its defaults: names resolved against the tables, places kept for messages."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from trials import backbones, tasks
from trials.errors import ApetError
from trials.sources import locations as sources
from trials.sweep import acting
from trials.sweep.check import Findings
from trials.sweep.paths import is_whole
from trials.sweep.rules import BROKEN
from trials.sweep.schema import Block, SweepFile
from trials.sweep.yaml import Path
from trials.tasks.spec import Task
from trials.trial import BackboneRef, TaskRef, Training


@dataclass(frozen=True)
class Data:
    """A task of a block: its table row, its identity in trials, its place in the file."""

    task: Task
    ref: TaskRef
    path: Path


class Finder:
    """Resolves backbones and tasks once each, and remembers where weights and data were found.

    Args:
        report: takes the problems.
        folder: that relative paths start from.
    """

    def __init__(self, report: Findings, folder: pathlib.Path) -> None:
        self.report, self.folder = report, folder
        self.weights: dict[BackboneRef, str] = {}
        self.data: dict[TaskRef, str] = {}
        self._seen: dict[Any, Any] = {}

    def backbone(self, entry: Any, path: Path) -> BackboneRef | None:
        """A backbone entry's identity; None when it has a problem, which is reported."""
        name = entry if isinstance(entry, str) else entry.name
        given = {} if isinstance(entry, str) else entry.model_dump(exclude_unset=True, exclude={"name"})
        folder = given.pop("model_dir", None)
        if name not in backbones.BACKBONES and (folder or "family" in given):
            for key, value in (("model_dir", folder), ("family", given.get("family"))):
                if value is None:
                    if (*path, key) not in self.report.document.values:
                        self.report.add((*path, key), f"missing; {name} is not built in and needs it", key=True)
                    return None
        where = path if isinstance(entry, str) else (*path, "model_dir" if folder else "name")
        model_dir = None if folder is None else self._path(folder)
        asked = ("weights", name, model_dir, *sorted(given.items()))
        found: tuple[BackboneRef, str] | None = self._once(where, asked, sources.find_weights, name, model_dir, **given)
        if found is None:
            return None
        self.weights.setdefault(found[0], self._location(folder, found[1]))
        return found[0]

    def task(self, entry: Any, path: Path) -> Data | None:
        """A task entry's identity; None when it has a problem, which is reported."""
        given = {} if isinstance(entry, str) else entry.model_dump(exclude_unset=True, exclude={"name"})
        name = entry if isinstance(entry, str) else entry.name
        folder = given.pop("data_dir", None)
        where = path if folder is None else (*path, "data_dir")
        data_dir = None if folder is None else self._path(folder)
        task = self._once(path if isinstance(entry, str) else (*path, "name"), ("task", name), tasks.get, name)
        found = task and self._once(where, ("data", name, data_dir), sources.find_data, name, data_dir)
        if not found:
            return None
        ref = TaskRef(name, found[0], **acting.limits(name, found[1], given))
        self.data.setdefault(ref, self._location(folder, found[1]))
        return Data(task, ref, path)

    def _path(self, text: str) -> pathlib.Path:
        path = pathlib.Path(text)
        return self.folder / (path.expanduser() if text.startswith("~/") else path)

    def _location(self, text: str | None, found: str) -> str:
        """Where something was found, relative to the sweep's folder where the sweep says it so."""
        if text is None or is_whole(text):
            return found
        return sources.below(self.folder, str(pathlib.Path(text)))

    def _once(self, path: Path, key: Any, find: Any, *args: Any, **named: Any) -> Any:
        """The result of ``find``, remembered; its error is reported at every place that asks."""
        if key not in self._seen:
            try:
                self._seen[key] = find(*args, **named)
            except ApetError as error:
                self._seen[key] = error
        found = self._seen[key]
        if isinstance(found, ApetError):
            self.report.add(path, str(found))
            return None
        return found


class Merged:
    """A block over the file's defaults.

    Args:
        report: takes the problems.
        file: the whole file.
        index: of the block, None when the file itself is the only one.
    """

    def __init__(self, report: Findings, file: SweepFile, index: int | None) -> None:
        self.report = report
        self.path: Path = () if index is None else ("blocks", index)
        self._levels: list[tuple[Block, Path]] = [(file, ())]
        if index is not None:
            self._levels.insert(0, (file.blocks[index], self.path))

    def get(self, key: str, default: Any = None) -> tuple[Any, Path]:
        """The value of a key in the block, else beside it, else the default; and its path."""
        for model, path in self._levels:
            if key in model.model_fields_set:
                return getattr(model, key), (*path, key)
        return default, (*self.path, key)

    def items(self, key: str) -> list[tuple[Any, Path]]:
        """The entries of a required list with their paths; what was reported already is left out."""
        value, path = self.get(key)
        if value is None:
            self.require(key)
            return []
        return [(item, (*path, index)) for index, item in enumerate(value) if item is not BROKEN]

    def require(self, *keys: str) -> None:
        """Findings a key that stands neither in the block nor beside it."""
        written = self.report.document.values
        if not any((*path, *keys) in written for _, path in self._levels):
            self.report.add((*self.path, *keys), "missing, and required; add it", key=True)

    @property
    def batch_size(self) -> int:
        """Rows of a batch."""
        given = [
            m.training.batch_size for m, _ in self._levels if m.training and "batch_size" in m.training.model_fields_set
        ]
        return int(given[0]) if given else Training.batch_size

    def training(self) -> Mapping[str, Any] | None:
        """Training settings, merged key by key; None when they have a problem."""
        merged: dict[str, Any] = {}
        for model, _ in reversed(self._levels):
            if "training" in model.model_fields_set:
                merged |= {name: getattr(model.training, name) for name in model.training.model_fields_set}
        written = self.report.document.values
        lone = merged.get("early_stop") is not None and merged.get("eval_every") is None
        if lone and not any((*p, "training", "eval_every") in written for _, p in self._levels):
            path = next(p for m, p in self._levels if m.training and "early_stop" in m.training.model_fields_set)
            self.report.add(
                (*path, "training", "early_stop"),
                f"{merged['early_stop']} evaluations, but eval_every is not set, so there is one only; set eval_every",
            )
        if "steps" not in merged:
            left_out = [m for m, p in self._levels if (*p, "training") in written and m.training is None]
            if not left_out:  # else it was reported as a whole
                self.require("training", "steps")
            return None
        return merged


def training_of(settings: Mapping[str, Any], task: Task) -> Training:
    """Training settings of a trial on ``task``, which decides the lengths."""
    given = {**settings, "max_input_length": task.max_input_length, "max_generated_length": task.max_generated_length}
    return acting.training(Training(**given))


def resolve_head(ref: BackboneRef, head: str, path: Path, finder: Finder) -> tuple[BackboneRef, str | None]:
    """The head of trials on a backbone, and the backbone with the scale that a frozen or trained head needs.

    ``auto`` is ``verbalizer`` where there is a masked-language-model head, else ``frozen``; families that
    generate have none. Problems are reported.
    """
    if ref.family != "bert":
        if head != "auto":
            what = f"{head}, but {ref.name} generates its answers: only encoders have a head"
            finder.report.add(path, f"{what}; leave `head` out, or give {ref.family} a block of its own")
        return ref, None
    if head == "auto":
        head = "verbalizer" if ref.shape.lm_head else "frozen"
    if head == "verbalizer":
        if not ref.shape.lm_head:
            what = f"verbalizer, but {ref.name} has no masked-language-model head"
            finder.report.add(path, f"{what}; use frozen, trained or auto")
    elif ref.head_scale is None:
        location = finder.weights[ref]
        ref = replace(ref, head_scale=backbones.HEAD_SCALE)
        finder.weights[ref] = location
    return ref, head
