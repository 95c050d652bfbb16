"""Trials that run alike: one backbone, the same lengths of a batch, and one method, or all that may share a pack."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.text import method_name
from trials.modules.methods import count_of
from trials.trial import BackboneRef, Method, Trial


@dataclass(frozen=True)
class Group:
    """What trials agree in that run with one set-up.

    Args:
        backbone: theirs.
        method: with its sizes, as text; empty where trials of several methods share packs.
        batch_size: rows of a batch.
        precision: as asked for.
        max_input_length, max_generated_length: tokens of a row.
    """

    backbone: BackboneRef
    method: str
    batch_size: int
    precision: str
    max_input_length: int
    max_generated_length: int

    @staticmethod
    def of(trial: Trial, pack_size: int) -> Group:
        """The group of a trial; ``full`` shares its pack with nobody."""
        how, alone = trial.training, pack_size == 1 or trial.method.name == "full"
        method = method_name(trial.method, trial.backbone.family) if alone else ""
        lengths = how.max_input_length, how.max_generated_length
        return Group(trial.backbone, method, how.batch_size, how.precision, *lengths)


def grouped(trials: Iterable[Trial], pack_size: int) -> dict[Group, list[Trial]]:
    """Trials by their group, in order of appearance."""
    groups: dict[Group, list[Trial]] = defaultdict(list)
    for trial in trials:
        groups[Group.of(trial, pack_size)].append(trial)
    return dict(groups)


def by_method(trials: Iterable[Trial]) -> dict[str, list[Trial]]:
    """Trials of one family by their method without the count, in order of appearance."""
    groups: dict[str, list[Trial]] = defaultdict(list)
    for trial in trials:
        groups[method_name(trial.method, trial.backbone.family)].append(trial)
    return dict(groups)


def counted(method: Method, ref: BackboneRef, loaded: int) -> int:
    """Tunable parameters of a method; ``full`` trains all that a worker has ``loaded``."""
    count = method.count if method.count is not None else count_of(method, ref)
    return loaded if count is None else count
