"""A run of the real driver whose worker does nothing but write each trial's row.

    python -m ways.noop SWEEP STORE WORKERS

The last line is JSON: the driver's resident memory at its end and at its highest, in bytes.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from trials import Pack, Store, Sweep
from trials.store.record import new_attempt_id, record
from ways.processes import memory
from workers.pack.progress import Ended, Progress


class Worker:
    """Says of every trial that it has completed."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def run(self, pack: Pack, should_stop: Callable[[], bool]) -> Iterator[Progress]:
        """Write the rows of a pack; who wrote them is in ``host``."""
        started, ended = datetime.now(UTC), []
        for member in pack.members:
            attempt_id = new_attempt_id(member.trial.trial_id, member.attempt)
            columns = {
                "state": "completed",
                "attempt": member.attempt,
                "attempt_id": attempt_id,
                "sweep": pack.sweep,
                "pack_id": pack.pack_id,
                "pack_size": len(pack.members),
                "host": str(os.getpid()),
                "started_at": started,
                "finished_at": datetime.now(UTC),
                **pack.sources.columns(),
            }
            self._store.append(record(member.trial, **columns), [])
            ended.append(Ended(member.trial.trial_id, "completed", attempt_id=attempt_id))
        yield Progress(pack.pack_id, ended=tuple(ended))


def main() -> None:
    """Run all trials of a sweep."""
    from orchestrator.driver.run import execute, missing

    sweep, store = Sweep.load(Path(sys.argv[1])), Store(sys.argv[2], create=True)
    todo = missing(sweep, store)[1]
    done = execute(todo, store, sweep.resources, max_concurrent=int(sys.argv[3]), quiet=True, worker="ways.noop:Worker")
    found = memory()
    if done.completed != len(todo):
        sys.exit(f"{len(todo)} trials: {done}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
