"""A trial that has ended costs its pack nothing more, and no pack mate a bit; nothing is scored that nobody reads."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_for_tests import FAMILIES
from worker_for_tests import pack_of, rows_of, run, scores

from trials.modules.positions import Layout
from trials.store.store import Store
from trials.trial import Training
from workers.modules import modules as building
from workers.modules.model import PackModel
from workers.pack import loop
from workers.pack.evaluate import Scores
from workers.pack.loop import Job
from workers.worker import Worker

B = 4  # rows of a batch
families = pytest.mark.parametrize("name", FAMILIES)
TOP = re.compile(r"(encoder\.layer|\bh|decoder\.block)\.\d+$")
WILD = {"learning_rate": 1e37}  # diverges at step 2


def same(one: Store, other: Store, trial: Any) -> bool:
    modules = [store.load_module(rows_of(store)[trial.trial_id]["module_uri"]) for store in (one, other)]
    return modules[0] == modules[1] and scores(one, trial) == scores(other, trial)


@pytest.fixture
def rows_through(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What goes through the highest block of a backbone, pass by pass: for what, and how many rows."""
    found: list[tuple[str, int]] = []

    def counted(name: str, method: Any) -> Any:
        def inner(self: PackModel, *args: Any, **kwargs: Any) -> Any:
            *_, top = (module for path, module in self.backbone.named_modules() if TOP.search(path))
            handle = top.register_forward_hook(
                lambda module, args, out: found.append((name, len(out[0] if isinstance(out, tuple) else out)))
            )
            try:
                return method(self, *args, **kwargs)
            finally:
                handle.remove()

        return inner

    for name in ("forward", "predict", "generate"):
        monkeypatch.setattr(PackModel, name, counted(name, getattr(PackModel, name)))
    return found


@families
def test_a_diverged_trial_leaves_its_slice(
    name: str, folder: Path, tmp_path: Path, trial: Any, rows_through: list[tuple[str, int]], monkeypatch: Any
) -> None:
    training = {"training": Training(steps=6, batch_size=B, eval_every=3)}
    members = [trial(name, count=300 + i, trial={**training, **(WILD if i in (0, 2) else {})}) for i in range(4)]
    step, held = loop._step, []

    def watched(job: Job, number: int, batch: Any, **rest: Any) -> None:
        step(job, number, batch, **rest)
        held.append([any(map(bool, job.engine.state(i))) for i in range(len(job.states))])

    monkeypatch.setattr(loop, "_step", watched)
    store, alone = Store(tmp_path / "store", create=True), Store(tmp_path / "alone", create=True)
    run(Worker(store), pack_of(folder, *members))
    monkeypatch.setattr(loop, "_step", step)
    trained = [rows for what, rows in rows_through if what == "forward"]
    assert trained == [4 * B] * 2 + [2 * B] * 4, "the second step finds out"
    assert held == [[True] * 4] + [[False, True, False, True]] * 5, "their moments are let go"
    scored = [rows for what, rows in rows_through if what != "forward"]
    assert 0 < max(scored) <= 2 * B, "what has diverged before its first evaluation is scored on nothing"
    assert [rows_of(store)[members[i].trial_id]["state"] for i in (0, 2)] == ["diverged"] * 2
    for one in (members[1], members[3]):
        run(Worker(alone), pack_of(folder, one))
        assert same(store, alone, one)


@families
def test_a_trial_that_stops_early_leaves_its_slice(
    name: str, folder: Path, tmp_path: Path, trial: Any, rows_through: list[tuple[str, int]], monkeypatch: Any
) -> None:
    """The first trial gets no better, the others do at every step."""
    training = {"training": Training(steps=5, batch_size=B, eval_every=1, early_stop=1)}
    members = [trial(name, count=300 + i, trial=training) for i in range(3)]
    score, calls = loop._scores, [0]

    def rigged(job: Job, states: Any, data: Any, secondary: bool = False) -> list[Scores]:
        real = score(job, states, data, secondary)
        calls[0] += 1
        lengths = [len(job.model.thetas[c.slot]) for c in states]
        return [replace(x, score=0.5 if n == 300 else calls[0] / 100) for n, x in zip(lengths, real, strict=True)]

    monkeypatch.setattr(loop, "_scores", rigged)
    store, alone = Store(tmp_path / "store", create=True), Store(tmp_path / "alone", create=True)
    run(Worker(store), pack_of(folder, *members))
    rows = [rows_of(store)[one.trial_id] for one in members]
    assert [(r["steps_done"], r["best_step"]) for r in rows] == [(2, 1), (5, 5), (5, 5)]
    assert [n for what, n in rows_through if what == "forward"] == [3 * B] * 2 + [2 * B] * 3
    for one in members[1:]:
        run(Worker(alone), pack_of(folder, one))
        left, right = rows_of(store)[one.trial_id], rows_of(alone)[one.trial_id]
        assert left["train_loss"] == right["train_loss"]
        assert store.load_module(left["module_uri"]) == alone.load_module(right["module_uri"])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e38])
@families
def test_what_is_not_finite_in_one_slice_stays_there(
    name: str, value: float, folder: Path, tmp_path: Path, trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = [trial(name, count=300), trial(name, count=301), trial(name, method="lora"), trial(name, method="bitfit")]
    initial = building.initial_theta

    def planted(layout: Layout) -> np.ndarray:
        theta = initial(layout)
        if layout.count == 301:
            theta[::7] = value
        return theta

    monkeypatch.setattr(building, "initial_theta", planted)
    store, alone = Store(tmp_path / "store", create=True), Store(tmp_path / "alone", create=True)
    run(Worker(store), pack_of(folder, *members))
    row = rows_of(store)[members[1].trial_id]
    assert (row["state"], row["diverged_at"], row["test_score"], row["module_uri"]) == ("diverged", 1, None, None)
    for one in (members[0], *members[2:]):
        run(Worker(alone), pack_of(folder, one))
        assert rows_of(store)[one.trial_id]["state"] == "completed"
        assert same(store, alone, one)


@families
def test_every_split_is_scored_as_often_as_it_is_read(
    name: str, folder: Path, tmp_path: Path, trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Validation once an evaluation, the test once a trial, and of a trial without a best step nothing."""
    training = {"training": Training(steps=5, batch_size=B, eval_every=2)}
    calm, wild = trial(name, count=300, trial=training), trial(name, count=301, trial={**training, **WILD})
    score, seen = loop._scores, []

    def counted(job: Job, states: Any, data: Any, secondary: bool = False) -> list[Scores]:
        split = "validation" if data is job.validation else "test"
        seen.append((split, [c.trial_id for c in states], secondary))
        return score(job, states, data, secondary)

    monkeypatch.setattr(loop, "_scores", counted)
    run(Worker(Store(tmp_path / "store", create=True)), pack_of(folder, calm, wild))
    assert seen == [("validation", [calm.trial_id], False)] * 3 + [("test", [calm.trial_id], True)]


def test_what_a_row_alone_needed_is_let_go_behind_it(
    folder: Path, tmp_path: Path, trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[Job] = []
    step = loop._step
    monkeypatch.setattr(loop, "_step", lambda job, *rest, **named: (jobs.append(job), step(job, *rest, **named))[1])
    run(Worker(Store(tmp_path / "store", create=True)), pack_of(folder, trial(count=300), trial(count=301)))
    assert [c.best for c in jobs[-1].states] == [[], []]
    assert all(not any(jobs[-1].engine.state(i)) for i in range(2))
    assert all(not torch.is_tensor(theta.grad) for theta in jobs[-1].model.thetas)
