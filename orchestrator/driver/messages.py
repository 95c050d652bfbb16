"""What travels between driver and workers, as plain JSON: neither has to import the other's libraries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Launch:
    """What is the same for every pack of a run.

    Args:
        store: URI of the store, absolute.
        run_id: names the run in the store: its heartbeats and its stop request.
        worker: ``module:name`` of a callable with the signature of ``workers.worker.Worker``.
        device: auto, cpu or cuda.
        threads: torch threads of a worker, None for torch's own choice.
    """

    store: str
    run_id: str
    worker: str
    device: str = "auto"
    threads: int | None = None

    def to_json(self) -> str:
        """As text for Tune's configuration."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Launch:
        """The inverse of :meth:`to_json`."""
        return Launch(**json.loads(text))


@dataclass(frozen=True)
class Ended:
    """A trial that ended: completed, diverged and failed have a row, interrupted has a checkpoint."""

    trial_id: str
    state: str
    test_score: float | None = None
    error_message: str | None = None
    wall_s: float = 0.0
    load_s: float = 0.0
    attempt_id: str | None = None


@dataclass(frozen=True)
class Report:
    """A pack's state at an evaluation: the worker's ``Progress`` as the driver reads it."""

    pack_id: str
    step: int = 0
    steps: int = 0
    scores: Mapping[str, float] = field(default_factory=dict)  # trial_id: best validation score so far
    ended: tuple[Ended, ...] = ()
    cut_rows: int = 0
    rows: int = 0

    @staticmethod
    def text(progress: Any) -> str:
        """A worker's progress as text."""
        return json.dumps(asdict(progress))

    @staticmethod
    def read(text: str) -> Report:
        """The inverse of :meth:`text`."""
        data = json.loads(text)
        return Report(**{**data, "ended": tuple(Ended(**ended) for ended in data["ended"])})
