"""What the driver tells every worker it starts, as plain JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Launch:
    """What is the same for every pack of a run.

    Args:
        store: URI of the store, absolute.
        run_id: names the run in the store: its heartbeats and its stop request.
        worker: ``module:name`` of a callable with the signature of ``workers.worker.Worker``; in a gang every rank has
            one.
        code: digest of the driver's code, see :mod:`trials.code`, which workers have to have too; empty: any will do.
    """

    store: str
    run_id: str
    worker: str
    code: str = ""

    def to_json(self) -> str:
        """As text for Tune's configuration."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Launch:
        """The inverse of :meth:`to_json`."""
        return Launch(**json.loads(text))
