"""Trials that run alike: one backbone, the same lengths of a batch, and methods whose packs are of about one size."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.text import method_name
from trials.modules.methods import count_of
from trials.trial import BackboneRef, Method, Trial


@dataclass(frozen=True)
class Kind:
    """What trials agree in that may run with one set-up.

    Args:
        backbone: theirs.
        full: whether they train it, each alone.
        tokens: soft tokens before every row, None without: a pack has rows of one length.
        batch_size: rows of a batch.
        precision: as asked for.
        max_input_length, max_generated_length: tokens of a row.
    """

    backbone: BackboneRef
    full: bool
    tokens: int | None
    batch_size: int
    precision: str
    max_input_length: int
    max_generated_length: int

    @staticmethod
    def of(trial: Trial) -> Kind:
        """The kind of a trial."""
        how, method = trial.training, trial.method
        lengths = how.max_input_length, how.max_generated_length
        return Kind(trial.backbone, method.name == "full", method.tokens, how.batch_size, how.precision, *lengths)


@dataclass(frozen=True)
class Group:
    """Trials of one kind that run with one set-up: all those of some methods, counts included."""

    kind: Kind
    methods: frozenset[Method]


def kinds(trials: Iterable[Trial]) -> dict[Kind, list[Trial]]:
    """Trials by their kind, in order of appearance."""
    found: dict[Kind, list[Trial]] = defaultdict(list)
    for trial in trials:
        found[Kind.of(trial)].append(trial)
    return dict(found)


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
