"""Trials that run alike: one backbone, the same lengths of a batch, and one method, or all that may share a pack."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from trials.modules.methods import count_of
from trials.modules.sites import default_sites
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
        method = describe(trial.method, trial.backbone.family) if alone else ""
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
        groups[describe(trial.method, trial.backbone.family)].append(trial)
    return dict(groups)


@lru_cache(maxsize=4096)
def describe(method: Method, family: str) -> str:
    """A method with its sizes, without its count: ``lora rank 8``, ``apet add:1 concat:1 discrete``."""
    words = [method.name]
    words += [f"{op}:{share}" for op, share in (method.operations or {}).items()]
    chosen = (method.sites or {}).items()
    words += [f"{op} at {'+'.join(kinds)}" for op, kinds in chosen if tuple(kinds) != default_sites(family, op)]
    sizes = {"rank": method.rank, "alpha": method.alpha, "bottleneck": method.bottleneck, "tokens": method.tokens}
    words += [f"{name} {value:g}" for name, value in sizes.items() if value is not None]
    return " ".join([*words, method.placement] if method.placement else words)


def counted(method: Method, ref: BackboneRef, loaded: int) -> int:
    """Tunable parameters of a method; ``full`` trains all that a worker has ``loaded``."""
    count = method.count if method.count is not None else count_of(method, ref)
    return loaded if count is None else count
