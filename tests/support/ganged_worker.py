"""A worker of a gang without a model: it does what one does with the others, and what ``APET_FAULT`` asks of it.

A pack takes the steps that its trials ask for, each a sum over ranks and a moment's rest; every second step is an
evaluation with a checkpoint. The score is the number of ranks over ten, ``steps_done`` what this try has done.
"""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import torch

from trials.errors import ApetError
from trials.pack import Member, Pack
from trials.store.record import new_attempt_id, record
from trials.store.store import Store
from workers.gang.gang import Gang
from workers.gang.short import ShortOfMemory
from workers.pack.progress import Ended, Progress

WORKER = "ganged_worker:GangedWorker"
REST = "APET_TEST_REST_S"  # seconds of rest after a step
_log = logging.getLogger("workers.ganged")


def never() -> bool:
    return False


class GangedWorker:
    def __init__(self, store: Store, *, engine: str = "auto", gang: Gang) -> None:
        self.store, self.gang, self.packs = store, gang, 0
        os.write(1, b"a library prints")
        print("through Python too", flush=True)
        sys.stderr.write(f"rank {gang.rank} writes to stderr\n")
        warnings.warn("a library warns", stacklevel=1)

    def run(
        self, pack: Pack, should_stop: Callable[[], bool] = never, limits: dict[str, Any] | None = None
    ) -> Iterator[Progress]:
        gang, members = self.gang, list(pack.members)
        first, self.packs = members[0].trial, self.packs + 1
        steps, begun = first.training.steps, datetime.now(UTC)
        if pack.sweep == "refused":
            raise ApetError("no such luck on any rank")
        gang.at("loading")
        step = int(gang.of_first(self.store.load_checkpoint(first.trial_id) if gang.first else None) or b"0")
        done = 0
        _log.warning("pack %s begins at step %d", pack.pack_id, step)
        while step < steps:
            if gang.any(should_stop()):
                self._save(members, step)
                yield self._progress(pack, step, [Ended(m.trial.trial_id, "interrupted") for m in members])
                return
            step, done = step + 1, done + 1
            gang.at(f"step {step}")
            self._together()
            time.sleep(float(os.environ.get(REST, "0.01")))
            if pack.sweep == "short" and step == steps // 2:
                yield from self._short(pack, limits, step)
            if step % 2 == 0:
                gang.at(f"evaluation at step {step}")
                self._together()
                self._save(members, step)
                yield self._progress(pack, step, [])
        yield self._progress(pack, step, [self._ended(pack, m, begun, done) for m in members])

    def _together(self) -> None:
        ones = torch.ones(3)
        self.gang.sum([ones])
        assert ones.tolist() == [self.gang.ranks] * 3

    def _short(self, pack: Pack, limits: dict[str, Any] | None, step: int) -> Iterator[Progress]:
        """The first trial ends, then memory runs out on the last rank while the others wait for it."""
        left, rows = list(pack.members), (limits or {"rows": 8})["rows"]
        if limits is None:
            yield self._progress(pack, step, [self._ended(pack, left.pop(0), datetime.now(UTC), step)])
        self._save(left, step - 1)
        self.gang.most(0)
        if rows > 4 and self.gang.rank == self.gang.ranks - 1:
            raise ShortOfMemory({"rows": rows // 2})
        self._together()

    def _save(self, members: list[Member], step: int) -> None:
        if self.gang.first:
            for member in members:
                self.store.save_checkpoint(member.trial.trial_id, str(step).encode())

    def _progress(self, pack: Pack, step: int, ended: list[Ended]) -> Progress:
        score = self.gang.ranks / 10
        scores = {m.trial.trial_id: score for m in pack.members}
        return Progress(pack.pack_id, step, pack.members[0].trial.training.steps, scores, tuple(ended))

    def _ended(self, pack: Pack, member: Member, begun: datetime, done: int) -> Ended:
        trial, attempt_id = member.trial, new_attempt_id(member.trial.trial_id, member.attempt)
        if self.gang.first:
            columns = {
                "state": "completed",
                "test_score": self.gang.ranks / 10,
                "steps_done": done,
                "attempt": member.attempt,
                "attempt_id": attempt_id,
                "pack_id": pack.pack_id,
                "pack_size": self.packs,
                "ranks": self.gang.ranks,
                "host": str(os.getpid()),
                "started_at": begun,
                "finished_at": datetime.now(UTC),
                **pack.sources.columns(),
            }
            self.store.append(record(trial, **columns), [])
            self.store.drop_checkpoint(trial.trial_id)
        return Ended(trial.trial_id, "completed", self.gang.ranks / 10, attempt_id=attempt_id)
