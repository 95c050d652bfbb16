"""A sweep whose trials have made-up outcomes, and a store that a feed reads: refinement without workers."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pyarrow as pa
from study_rows import answers, row

from orchestrator.planning.todo import Todo
from orchestrator.refining.budget import Budget
from orchestrator.refining.feed import Feed
from orchestrator.refining.refine import standing_of
from orchestrator.refining.rules import Rules
from orchestrator.refining.standing import Standings
from orchestrator.refining.targets import targets
from trials.store.record import SCHEMA, Record
from trials.store.views import visible, with_groups
from trials.sweep.sweep import Sweep
from trials.trial import Trial

COUNTS = [16, 32, 64, 128, 256, 512, 1024, 2048]
ROWS = 500  # test rows


def sweep(counts: list[int] | None = None, full: int = 3, rates: tuple[float, ...] = (0.01,), **apet: Any) -> Sweep:
    """A count curve on the small quickstart encoder, with so many runs of full fine-tuning."""
    methods: list[dict[str, Any]] = [{"method": "apet", "counts": counts or COUNTS, "position_seeds": 3, **apet}]
    if full:
        methods.append({"method": "full", "train_seeds": full, "learning_rates": [1e-4]})
    task = {"name": "rotten_tomatoes", "validation_rows": 50, "test_rows": ROWS}
    keys = {"backbones": ["quickstart-l3"], "tasks": [task], "methods": methods, "learning_rates": list(rates)}
    return Sweep.parse(json.dumps({"name": "world", "training": {"steps": 4}, **keys}))


def outcome(low: int, high: int, full: float = 0.8) -> Callable[[Trial], Record]:
    """Rows of a world in which scores leave the floor at a count, and equal full fine-tuning at another."""

    def ran(of: Trial) -> Record:
        count = of.method.count
        score = full if count is None else full + 0.06 if count >= high else 0.65 if count >= low else 0.5
        wobble = random.Random(of.trial_id).choice([-0.005, 0.0, 0.005])
        return row(of, score + wobble, **answers(of, score + wobble, rows=ROWS))

    return ran


class World:
    """Runs what a feed gives.

    Args:
        of: the sweep.
        ran: the row of a trial; None: there will be none.
        budget: of the feed.
        rows: that are there before.
    """

    def __init__(
        self,
        of: Sweep,
        ran: Callable[[Trial], Record | None],
        budget: Budget | None = None,
        rows: list[Record] | None = None,
        rules: Rules | None = None,
    ) -> None:
        self.rows = list(rows or [])
        self.ran, self.now = ran, 0.0
        self.feed = Feed(of, self, targets(of.trials()), rules or Rules(), budget or Budget(), now=lambda: self.now)  # type: ignore[arg-type]
        self.order: list[Trial] = []

    def exists(self) -> bool:
        return True

    def trials(self) -> pa.Table:
        return with_groups(visible(pa.Table.from_pylist(self.rows, schema=SCHEMA)))

    def end(self, one: Todo) -> None:
        made = self.ran(one.trial)
        if made is not None:
            self.rows.append(made)
        self.feed.ended(one.trial.trial_id, made is not None)

    def run(self, workers: int = 1, draw: random.Random | None = None) -> Standings:
        """All of it, by so many workers who take a trial at a time and end in any order."""
        waiting, running = list[Todo](), list[Todo]()
        while True:
            while len(running) < workers:
                waiting = waiting or self.feed.more()
                if not waiting:
                    break
                self.order.append(waiting[0].trial)
                running.append(waiting.pop(0))
            if not running:
                return standing_of(self.feed)
            self.now += 1.0
            self.end(running.pop(draw.randrange(len(running)) if draw else 0))
