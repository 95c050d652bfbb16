"""A worker without torch whose rows have answers: both thresholds lie where it says. Full fine-tuning takes seconds."""

from __future__ import annotations

from datetime import UTC, datetime

from fake_worker import FakeWorker
from refined_world import outcome

from trials.pack import Pack
from trials.store.record import new_attempt_id
from trials.trial import Trial
from workers.pack.progress import Ended

WORKER = "answering_worker:AnsweringWorker"
LOW, HIGH = 64, 512


class AnsweringWorker(FakeWorker):
    full: frozenset[str] = frozenset()

    def run(self, pack, should_stop):  # type: ignore[no-untyped-def]
        self.full = frozenset(m.trial.trial_id for m in pack.members if m.trial.method.name == "full")
        yield from super().run(pack, should_stop)

    def seconds(self, trial_id: str) -> int:
        return int(trial_id in self.full)

    def end(self, pack: Pack, trial: Trial, attempt: int, wall_s: float, load_s: float) -> Ended:
        attempt_id = new_attempt_id(trial.trial_id, attempt)
        times = {"started_at": self.started_at, "finished_at": datetime.now(UTC), "wall_s": wall_s}
        ids = {"attempt": attempt, "attempt_id": attempt_id, "pack_id": pack.pack_id, "sweep": pack.sweep}
        self.store.append({**outcome(LOW, HIGH)(trial), **times, **ids, **pack.sources.columns()}, [])
        return Ended(trial.trial_id, "completed", 0.5, None, wall_s, load_s, attempt_id)
