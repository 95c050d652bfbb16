"""From the models of a sweep file to its trials: blocks merged, names resolved, axes multiplied."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from trials.sweep import acting
from trials.sweep.axes import Variant, known, rates, seeds, variants
from trials.sweep.blocks import Data, Finder, Merged, resolve_head, training_of
from trials.sweep.check import Findings
from trials.sweep.resources import Resources
from trials.sweep.rules import BROKEN
from trials.sweep.schema import SweepFile
from trials.sweep.yaml import Path
from trials.trial import BackboneRef, TaskRef, Trial

MOST = 1_000_000  # trials of one sweep


@dataclass
class Enumerated:
    """What a sweep file stands for.

    Args:
        trials: in the order of the file, each once.
        duplicates: trials that came out again and were dropped.
        skipped: (trial, why) above capacity, where the file says to skip them.
        weights: where each backbone was found.
        data: where each task's data was found.
    """

    trials: tuple[Trial, ...] = ()
    duplicates: int = 0
    skipped: tuple[tuple[str, str], ...] = ()
    weights: Mapping[BackboneRef, str] = field(default_factory=dict)
    data: Mapping[TaskRef, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Grid:
    """Trials that share backbone, task and method entry."""

    common: dict[str, Any]
    variants: Sequence[Variant]
    rates: Sequence[float]
    train_seeds: Sequence[int]

    @property
    def size(self) -> int:
        return sum(len(v.position_seeds) for v in self.variants) * len(self.rates) * len(self.train_seeds)

    def points(self) -> Iterator[tuple[Variant, float, int, int | None]]:
        for variant in self.variants:
            yield from product((variant,), self.rates, self.train_seeds, variant.position_seeds)


def enumerate_trials(report: Findings, file: SweepFile, folder: pathlib.Path) -> Enumerated:
    """All trials of a file; relative paths start from ``folder``.

    Raises:
        Problems: everything that is wrong in the file, what ``report`` holds already included.
    """
    finder = Finder(report, folder)
    indices: Sequence[int | None] = [None]
    if file.blocks is not None:
        indices = [index for index, block in enumerate(file.blocks) if block is not BROKEN]
    blocks = [Merged(report, file, index) for index in indices]
    _check_resources(report, Resources.in_(file), blocks)
    grids = [grid for block in blocks for grid in _block(block, finder)]
    if sum(grid.size for grid in grids) > MOST:
        total = sum(grid.size for grid in grids)
        report.add((), f"{total} trials; a sweep has at most {MOST}: use fewer seeds, counts or rates, or split it")
    report.raise_any()
    return _multiply(grids, finder)


def _multiply(grids: Sequence[_Grid], finder: Finder) -> Enumerated:
    """The trials of all grids, each once."""
    interned: dict[Any, Any] = {}
    kept: dict[tuple[Any, ...], Trial] = {}
    skipped: dict[tuple[Any, ...], tuple[str, str]] = {}
    total = 0
    for grid in grids:
        # equal parts become one object, so that comparing trials is comparing a few addresses
        common = {name: interned.setdefault(part, part) for name, part in grid.common.items()}
        shared = tuple(id(part) for part in common.values())
        methods = {id(variant): interned.setdefault(variant.method, variant.method) for variant in grid.variants}
        for variant, rate, train_seed, position_seed in grid.points():
            total += 1
            method = methods[id(variant)]
            key = (shared, id(method), rate, train_seed, position_seed)
            if key in kept or key in skipped:
                continue
            trial = Trial(
                **common, method=method, learning_rate=rate, train_seed=train_seed, position_seed=position_seed
            )
            if variant.too_large:
                skipped[key] = (_axes(trial), variant.too_large)
            else:
                kept[key] = trial
    return Enumerated(
        trials=tuple(kept.values()),
        duplicates=total - len(kept) - len(skipped),
        skipped=tuple(skipped.values()),
        weights=finder.weights,
        data=finder.data,
    )


def _axes(trial: Trial) -> str:
    """One line for people: what the trial's axes are."""
    method = trial.method
    parts = [trial.backbone.name, trial.task.name, method.name]
    if method.name == "apet":
        parts += [str(method.placement), f"count {method.count}", f"position seed {trial.position_seed}"]
    return ", ".join([*parts, f"rate {trial.learning_rate:g}", f"train seed {trial.train_seed}"])


def _block(block: Merged, finder: Finder) -> list[_Grid]:
    """The grids of one block; its problems are reported."""
    refs = [ref for entry, path in block.items("backbones") if (ref := finder.backbone(entry, path))]
    data = [found for entry, path in block.items("tasks") if (found := finder.task(entry, path))]
    targets = _targets(block, data, finder)
    _check_pairs(block.report, refs, [*data, *targets])
    if block.get("labels")[0] == "unified":
        _check_unified(block, [*data, *targets])
    settings = block.training()
    entries = [item for item in block.items("methods") if known(*item, block.report)]  # without a backbone, too
    rated = [_has_rates(block, *item) for item in entries]
    if not (rated and all(rated)) and block.get("learning_rates")[0] is None:
        block.require("learning_rates")
    return [grid for ref in refs for grid in _grids(block, ref, entries, data, targets, settings, finder)]


def _grids(
    block: Merged,
    ref: BackboneRef,
    entries: Sequence[tuple[Any, Path]],
    data: Sequence[Data],
    targets: Sequence[Data],
    settings: Mapping[str, Any] | None,
    finder: Finder,
) -> Iterator[_Grid]:
    """The grids of one backbone of a block: tasks times methods."""
    ref, head = resolve_head(ref, *block.get("head", "auto"), finder)
    labels, _ = block.get("labels", "own")
    if labels == "own" and head in ("frozen", "trained"):
        _check_classes(block.report, ref, data, targets)
    block_seeds, _ = block.get("train_seeds", [0])
    methods = []
    for entry, path in entries:
        own = getattr(entry, "train_seeds", None)
        found = variants(entry, ref, path, block.report)
        methods.append((found, _rates(block, entry, ref), seeds(block_seeds if own is None else own)))
    for each in data if settings is not None else ():
        common = {
            "backbone": ref,
            "task": each.ref,
            "training": training_of(settings or {}, each.task),
            "head": head,
            "labels": labels,
            "evaluate_on": acting.targets(target.ref for target in targets if target.ref.name != each.ref.name),
        }
        for method in methods:
            yield _Grid(common, *method)


def _has_rates(block: Merged, entry: Any, path: Path) -> bool:
    """Whether a method has learning rates of its own, those that were reported and left out included."""
    written = (*path, "learning_rates") in block.report.document.values
    return written or getattr(entry, "learning_rates", None) is not None


def _rates(block: Merged, entry: Any, ref: BackboneRef) -> Sequence[float]:
    """The method's own learning rates, else the block's; () where there are none, which was reported."""
    value = getattr(entry, "learning_rates", None)
    if value is None:
        value, _ = block.get("learning_rates")
    if value is None:
        return ()
    return rates(value, ref, entry if isinstance(entry, str) else entry.method)


def _targets(block: Merged, data: Sequence[Data], finder: Finder) -> list[Data]:
    """The tasks of ``evaluate_on``; a bare name that stands in ``tasks`` means that entry, its data included."""
    value, _ = block.get("evaluate_on")
    if value is None:
        return []
    by_name = {each.ref.name: each for each in reversed(data)}
    found: dict[str, Data] = {}
    for entry, path in block.items("evaluate_on"):
        target = by_name.get(entry) if isinstance(entry, str) else None
        target = Data(target.task, target.ref, path) if target else finder.task(entry, path)
        if target and target.ref.name in found:
            if target.ref != found[target.ref.name].ref:  # equal ones were reported as a value given twice
                block.report.add(path, f"{target.ref.name} is there twice, with other data; keep one")
        elif target and set(by_name) == {target.ref.name}:
            block.report.add(path, f"{target.ref.name} is the task that is trained; name other tasks")
        elif target and target.ref.name in by_name and target.ref not in [each.ref for each in data]:
            block.report.add(
                path,
                f"{target.ref.name} stands in `tasks` with other data or limits; one name is one set of rows: "
                f"write {target.ref.name} alone here, and its data there",
            )
        elif target:
            found[target.ref.name] = target
            finder.data.setdefault(acting.target(target.ref), finder.data[target.ref])
    return list(found.values())


def _check_resources(report: Findings, wanted: Resources, blocks: Sequence[Merged]) -> None:
    for batch_size in dict.fromkeys(block.batch_size for block in blocks):
        for key, what in wanted.conflicts(batch_size):
            report.add(("resources", key), what)


def _check_pairs(report: Findings, refs: Sequence[BackboneRef], data: Sequence[Data]) -> None:
    for each in data:
        for ref in refs:
            if ref.family not in each.task.prompt:
                takes = ", ".join(each.task.prompt)
                report.add(
                    each.path,
                    f"{each.ref.name} can't be done by {ref.name}: the family {ref.family} does not take it "
                    f"(families that do: {takes}); give them a block of their own",
                )


def _check_classes(report: Findings, ref: BackboneRef, data: Sequence[Data], targets: Sequence[Data]) -> None:
    """A head per class can only score a task with the same number of classes."""
    for target in targets:
        for each in data:
            classes = len(target.task.labels), len(each.task.labels)
            if all(classes) and classes[0] != classes[1]:  # BERT takes no task without classes: said elsewhere
                report.add(
                    target.path,
                    f"{target.ref.name} has {len(target.task.labels)} labels and {each.ref.name} "
                    f"{len(each.task.labels)}: the head of {ref.name} can't score both; set labels: unified",
                )


def _check_unified(block: Merged, data: Sequence[Data]) -> None:
    for each in data:
        if not each.task.unified:
            what = f"unified, but {each.ref.name} has no labels to unify; use own, or leave the task out"
            block.report.add(block.get("labels")[1], what)
