"""Trials become packs, in the order in which workers should get them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from orchestrator.planning.work import flops
from trials import keys
from trials.canonical import canonical
from trials.pack import Member, Pack, Sources
from trials.setup import Setup
from trials.trial import Trial


@dataclass(frozen=True)
class Todo:
    """One attempt that is to be made at a trial, and where its weights and data were found."""

    trial: Trial
    sources: Sources
    attempt: int = 0
    sweep: str = ""

    @property
    def warmth(self) -> str:
        """Shared by trials for which a warm worker loads nothing."""
        return keys.warmth(self.trial.backbone.text, self.trial.training.precision)

    def again(self) -> Todo:
        """The next attempt at the same trial."""
        return replace(self, attempt=self.attempt + 1)


@dataclass(frozen=True)
class PlannedPack:
    """Attempts that train together, and how they run."""

    members: tuple[Todo, ...]
    setup: Setup = field(default_factory=Setup)

    @property
    def warmth(self) -> str:
        """Shared by packs for which a warm worker loads nothing."""
        return self.members[0].warmth

    @property
    def weight(self) -> float:
        """The cost of its trials together."""
        return sum(cost(todo.trial) for todo in self.members)

    def pack(self, pack_id: str) -> Pack:
        """What the worker gets."""
        first = self.members[0]
        members = tuple(Member(todo.trial, todo.attempt) for todo in self.members)
        return Pack(pack_id, members, first.sources, first.sweep, self.setup)


def packs(todo: Iterable[Todo], setup: Setup | Callable[[Trial], Setup] | None = None) -> list[PlannedPack]:
    """Group what is to be done: backbone after backbone, the largest work first.

    A worker that takes packs from the front of this list loads every backbone once, and the last packs are
    the short ones, so that workers end at about the same time.

    Args:
        todo: attempts, in the order of their sweep.
        setup: how they run, all of them or each; those of a pack have one set-up, share what ``Trial.pack_key`` says
            and are at most ``setup.pack_size``. None: each alone, wherever it comes to run.
    """
    setup = setup or Setup()
    by_setup: dict[Setup, list[Todo]] = defaultdict(list)
    for one in todo:
        by_setup[setup if isinstance(setup, Setup) else setup(one.trial)].append(one)
    by_warmth: dict[str, list[PlannedPack]] = defaultdict(list)
    for how, some in by_setup.items():
        for members in _groups(some, how.pack_size):
            by_warmth[members[0].warmth].append(PlannedPack(members, how))
    costs = {id(group): group.weight for groups in by_warmth.values() for group in groups}
    for groups in by_warmth.values():
        groups.sort(key=lambda group: -costs[id(group)])  # stable: equal ones stay in the sweep's order
    largest = sorted(by_warmth.values(), key=lambda groups: -costs[id(groups[0])])
    return [group for groups in largest for group in groups]


def cost(trial: Trial) -> float:
    """Work of a trial relative to others: floating-point operations, by arithmetic on shapes."""
    return flops(trial)


def _groups(todo: list[Todo], pack_size: int) -> list[tuple[Todo, ...]]:
    """Chunks of at most ``pack_size`` attempts that may share a pack.

    Prompts of one length come together: in a pack every trial's rows are as long as the longest prompt makes them.
    """
    assert pack_size >= 1, pack_size
    if pack_size == 1:  # spares the digest of every trial's pack key
        return [(one,) for one in todo]
    alike: dict[tuple[str, str, str], list[Todo]] = defaultdict(list)
    for one in todo:
        places = {"weights": one.sources.weights, "data": one.sources.data, "targets": dict(one.sources.targets)}
        alike[one.trial.pack_key, canonical(places), one.sweep].append(one)
    for some in alike.values():
        some.sort(key=lambda one: one.trial.method.tokens or 0)  # stable
    return [tuple(some[i : i + pack_size]) for some in alike.values() for i in range(0, len(some), pack_size)]
