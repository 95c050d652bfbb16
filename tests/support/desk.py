"""A dispatch without workers, and a store as it sees it."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.driver.dispatch import Dispatch
from orchestrator.driver.ray.deaths import Death, explain
from orchestrator.planning.packing import Todo
from orchestrator.planning.stocks import Stocks
from trials.failures import PREEMPTED
from trials.pack import Pack
from trials.setup import Setup
from workers.pack.progress import Ended, Progress

LONG = 1000.0  # seconds, after which everything that failed may try again


class Desk:
    """A dispatch, and the store as it sees it."""

    def __init__(self, *todos: Todo, retries: int = 2, pack_size: int = 1) -> None:
        self.rows: dict[tuple[str, int], str] = {}
        self.given_up: list[tuple[str, int, str]] = []
        self.notes: list[str] = []
        self.now = 0.0
        self.dispatch = Dispatch(
            Stocks(todos, Setup(pack_size=pack_size)),
            "run",
            retries,
            row_state=lambda one: self.rows.get((one.trial.trial_id, one.attempt)),
            stored=lambda attempt_id: attempt_id != "nowhere",
            give_up=lambda one, why: self.given_up.append((one.trial.trial_id, one.attempt, why.reason)),
            on_note=self.notes.append,
            now=lambda: self.now,
        )

    def take(self, later: float = 0.0) -> Pack:
        self.now += later
        pack = self.dispatch.next()
        assert pack is not None
        return pack

    def end(self, pack: Pack, state: str = "completed", attempt_id: str | None = "somewhere") -> None:
        ended = tuple(Ended(m.trial.trial_id, state, attempt_id=attempt_id) for m in pack.members)
        self.dispatch.report(Progress(pack.pack_id, 1, 1, {}, ended))
        self.dispatch.finished(pack.pack_id)


def preempted(why: str) -> Death:
    return replace(explain(why), failure_class=PREEMPTED)


def seeds(pack: Pack) -> list[tuple[str, int, int]]:
    return [(m.trial.backbone.name, m.trial.train_seed, m.attempt) for m in pack.members]
