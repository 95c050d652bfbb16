"""Where a trial's scalars sit in its backbone."""

from __future__ import annotations

from dataclasses import dataclass

from trials.modules.positions import Layout, layout
from trials.pack import Member
from workers import faults
from workers.modules import soft_tokens


@dataclass(frozen=True)
class Placed:
    """A trial, and where its scalars sit (None for ``full``)."""

    member: Member
    layout: Layout | None

    @property
    def trial_id(self) -> str:
        """Its trial's id."""
        return self.member.trial.trial_id


def place(member: Member, longest: int) -> Placed:
    """The places of a trial's scalars.

    Args:
        member: the trial.
        longest: positions of the longest row that it will see.

    Raises:
        Exception: it can't be placed.
    """
    faults.maybe_fail(member.trial.trial_id)
    if member.trial.method.name == "full":
        return Placed(member, None)
    found = layout(member.trial)
    soft_tokens.check_room(found, member.trial.backbone, longest)
    return Placed(member, found)
