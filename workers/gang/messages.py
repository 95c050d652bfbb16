"""What a gang's supervisor and its ranks say to each other: one line of JSON a message, ``{"kind": {fields}}``.

A rank hears on its standard input, and says on what was its standard output when it began.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Start:
    """To a rank: load the code of a worker; :class:`Ready` is the answer.

    Args:
        store: URI of the store.
        worker: ``module:name`` of a callable with the signature of ``workers.worker.Worker``.
        engine: for the worker.
    """

    store: str
    worker: str
    engine: str


@dataclass(frozen=True)
class Join:
    """To a rank: meet the others, and make the worker; :class:`Joined` is the answer, on the first one :class:`Port`
    before.

    Args:
        device: cpu or cuda.
        rank, ranks: which one it is, and how many they are.
        host: where the others reach the first one.
        port: likewise; None: it is the first one, and listens.
        timeout_s: of every collective call.
        local: whether all are on one machine.
    """

    device: str
    rank: int
    ranks: int
    host: str
    port: int | None
    timeout_s: float
    local: bool


@dataclass(frozen=True)
class Run:
    """To a rank: run a pack; :class:`Done` is the answer.

    Args:
        pack: its JSON.
        limits: what memory was found to hold of it, as :class:`workers.gang.short.ShortOfMemory` had it.
    """

    pack: str
    limits: dict[str, Any] | None = None


@dataclass(frozen=True)
class Stop:
    """To a rank: end the pack at its next batch, with checkpoints."""


@dataclass(frozen=True)
class Ready:
    """From a rank: all code is there."""


@dataclass(frozen=True)
class Port:
    """From the first rank: where it listens."""

    port: int


@dataclass(frozen=True)
class Joined:
    """From a rank: it has met the others."""


@dataclass(frozen=True)
class At:
    """From a rank: where it is, in words."""

    where: str


@dataclass(frozen=True)
class Said:
    """From the first rank: a warning of ours, which one process would print."""

    text: str


@dataclass(frozen=True)
class Told:
    """From the first rank: the JSON of a ``Progress``."""

    progress: str


@dataclass(frozen=True)
class Done:
    """From a rank: the pack has come to its end."""


INPUT, MEMORY, DIED, RAISED, COLLECTIVE = "input", "memory", "died", "raised", "collective"


@dataclass(frozen=True)
class Trouble:
    """From a rank: it can't go on, and ends.

    Args:
        kind: INPUT: an ``ApetError``; MEMORY: ran out where only a new gang helps; COLLECTIVE: another rank didn't
            come, or is gone; RAISED: anything else. DIED is what nobody says of himself.
        error_class: the exception's name.
        reason: one line.
        log: the traceback.
        limits: with MEMORY: what the pack is to be tried with next.
    """

    kind: str
    error_class: str
    reason: str
    log: str = ""
    limits: dict[str, Any] | None = None


Message = Start | Join | Run | Stop | Ready | Port | Joined | At | Said | Told | Done | Trouble
KINDS: dict[str, type[Message]] = {
    kind.__name__.lower(): kind for kind in (Start, Join, Run, Stop, Ready, Port, Joined, At, Said, Told, Done, Trouble)
}


def write(message: Message) -> str:
    """A message as a line, its end included."""
    return json.dumps({type(message).__name__.lower(): asdict(message)}) + "\n"


def read(line: str) -> Message:
    """The inverse of :func:`write`."""
    ((kind, fields),) = json.loads(line).items()
    return KINDS[kind](**fields)
