"""A pack: trials that train together on one backbone, as a plain JSON value that a worker takes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from trials.canonical import canonical
from trials.errors import ApetError
from trials.setup import Setup, beyond
from trials.sources.locations import recorded
from trials.trial import SPEC_VERSION, Trial


@dataclass(frozen=True)
class Sources:
    """Where weights and data were found; no part of a trial's identity.

    Each is a location string of :mod:`trials.sources.locations`, whole, so that any process of any folder finds it.
    ``targets`` maps every task of ``evaluate_on`` to its location.
    """

    weights: str
    data: str
    targets: Mapping[str, str] = field(default_factory=dict)

    def columns(self) -> dict[str, Any]:
        """What a row says of them: a folder that the sweep names relatively stays relative."""
        return {
            "weights_source": recorded(self.weights),
            "data_source": recorded(self.data),
            "transfer_sources": {task: recorded(place) for task, place in self.targets.items()},
        }


@dataclass(frozen=True)
class Member:
    """One trial of a pack, and which attempt at it this is (0 is the first)."""

    trial: Trial
    attempt: int = 0


@dataclass(frozen=True)
class Pack:
    """What a worker gets. All members have one ``pack_key``.

    Args:
        setup: how it runs: the worker obeys it.
    """

    pack_id: str
    members: tuple[Member, ...]
    sources: Sources
    sweep: str = ""
    setup: Setup = field(default_factory=Setup)

    def __post_init__(self) -> None:
        for trial in (member.trial for member in self.members):
            if why := superseded(trial):
                raise ApetError(f"trial {trial.trial_id} can't be trained: {why}")
        keys = {m.trial.pack_key for m in self.members}
        if len(keys) != 1:
            raise ApetError(
                f"pack {self.pack_id}: {len(self.members)} trials with {len(keys)} pack keys; trials of a pack "
                "agree in backbone, task, head and training settings, and a full trial is alone"
            )
        if why := beyond(self.setup, self.members[0].trial.training.batch_size):
            raise ApetError(f"pack {self.pack_id}: its set-up is {why}; `apet show TRIAL --pack` makes one")

    def to_json(self) -> str:
        """The pack as the JSON file that ``python -m workers.run`` reads."""
        plain = {
            **asdict(self),
            "members": [{"spec": json.loads(m.trial.spec), "attempt": m.attempt} for m in self.members],
        }
        return json.dumps(plain, indent=1, default=dict)

    @staticmethod
    def from_json(text: str) -> Pack:
        """Read a pack.

        Raises:
            ApetError: the text is no pack.
        """
        try:
            data = json.loads(text)
            members = tuple(
                Member(Trial.from_spec(canonical(m["spec"])), int(m["attempt"])) for m in data.pop("members")
            )
            sources, setup = Sources(**data.pop("sources")), Setup(**data.pop("setup"))
            return Pack(members=members, sources=sources, setup=setup, **data)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, ApetError):
                raise
            raise ApetError(f"not a pack ({error!r}); `apet show TRIAL --pack` prints one that works") from None

    @staticmethod
    def read(path: Path) -> Pack:
        """Read a pack from a file.

        Raises:
            ApetError: no such file, or no pack.
        """
        try:
            return Pack.from_json(path.read_text())
        except OSError as error:
            raise ApetError(f"{path}: {error.strerror or error}; give a pack's JSON file") from None


def superseded(trial: Trial) -> str:
    """Why a trial of an older release is only looked at, and what to do; empty for one that runs."""
    if trial.spec_version == SPEC_VERSION:
        return ""
    return (
        f"it is of spec version {trial.spec_version}, and this build runs version {SPEC_VERSION}: run its sweep again, "
        "which makes the trial anew under another id"
    )
