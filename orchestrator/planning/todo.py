"""What is to be done: an attempt at a trial; some that train together; what they cost and how deep they reach."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from orchestrator.planning.work import flops
from trials import keys
from trials.errors import ApetError
from trials.modules.depth import lowest_block
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


def cost(trial: Trial) -> float:
    """Work of a trial relative to others: floating-point operations, by arithmetic on shapes."""
    return flops(trial)


def depth(todo: Todo) -> int:
    """The lowest block that a trial touches; of one that can't be placed, which its worker will say, the first."""
    try:
        return lowest_block(todo.trial)
    except ApetError:
        return 0
