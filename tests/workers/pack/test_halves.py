"""What all trials of a pack hold doesn't fit: fewer slices a pass don't help, so half of it trains after the other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from four_for_tests import FULL, four, results, scores_of
from tiny_for_tests import FAMILIES
from worker_for_tests import rows_of

from trials.failures import OUT_OF_MEMORY
from trials.store.store import Store
from workers import worker as working
from workers.engines import choice
from workers.engines.plain import PlainEngine
from workers.engines.whole import WholeTensors
from workers.modules.model import PackModel
from workers.pack import checkpoint
from workers.worker import Worker

families = pytest.mark.parametrize("name", FAMILIES)


def half_a_step(self: PlainEngine) -> None:
    """The optimiser's step of the first group alone, and then no memory for the moments of the others."""
    for group in self._optimizer.param_groups[1:]:
        for p in group["params"]:
            p.grad = None
    self._optimizer.step()
    raise FULL


@pytest.mark.parametrize("where", ["engine", "step", "best"])
@families
def test_what_all_trials_hold_is_held_by_half_of_them(
    name: str, where: str, folder: Path, tmp_path: Path, trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack, worker = four(name, folder, trial, steps=6, eval_every=2), Worker(Store(tmp_path / "none"), engine="plain")
    _, whole = results(worker, pack, tmp_path / "whole")
    make, step, values, trained, forward = choice.make, PlainEngine.step, WholeTensors.values, [], PackModel.forward

    def groups(engine: WholeTensors) -> int:
        return len(engine._optimizer.param_groups)

    def make_few(name: str, model: Any, some: Any, **kwargs: Any) -> Any:
        if len(some) > 2:
            raise FULL
        return make(name, model, some, **kwargs)

    def step_few(self: PlainEngine) -> None:
        if groups(self) > 2 and len(trained) == 3:  # the first behind a checkpoint
            half_a_step(self)
        step(self)

    def values_of_few(self: WholeTensors, group: int) -> Any:
        if groups(self) > 2 and group == 2:
            raise FULL
        return values(self, group)

    with monkeypatch.context() as patch:
        if where == "engine":
            patch.setattr(working.choice, "make", make_few)
        elif where == "step":
            patch.setattr(PlainEngine, "step", step_few)
        else:
            patch.setattr(WholeTensors, "values", values_of_few)
        patch.setattr(
            PackModel, "forward", lambda self, rows: (trained.append(len(self.active)), forward(self, rows))[1]
        )
        told, halves = results(worker, pack, tmp_path / "halves")
    assert halves == whole
    before = {"engine": [], "step": [4] * 3, "best": [4] * 2}[where]
    assert trained == before + 2 * [2] * (6 if where != "step" else 4), "from the start, or from step 2"
    assert told[-1].pack_size == 2
    assert {row["pack_size"] for row in rows_of(worker.store).values()} == {2}
    told, again = results(worker, pack, tmp_path / "again")
    assert again == whole
    assert [len(p.ended) for p in told if p.ended] == [2, 2], "the next pack begins in halves"


@families
def test_one_that_does_not_fit_alone_fails_alone_and_teaches_nothing(
    name: str, folder: Path, tmp_path: Path, trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack, worker, forward = four(name, folder, trial, steps=4), Worker(Store(tmp_path / "none")), PackModel.forward
    _, whole = results(worker, pack, tmp_path / "whole")
    giant, sizes = pack.members[1].trial, list[tuple[int, int]]()

    def no_room_for_it(self: PackModel, rows: Any) -> Any:
        sizes.append((len(self.active), len(rows["input_ids"])))
        if any(len(self.thetas[i]) == 90 for i in self.active):
            raise FULL
        return forward(self, rows)

    with monkeypatch.context() as patch:
        patch.setattr(PackModel, "forward", no_room_for_it)
        worker.store = store = Store(tmp_path / "without", create=True)
        told = list(worker.run(pack))
    rows = rows_of(store)
    row = rows.pop(giant.trial_id)
    assert (row["state"], row["failure_class"], row["pack_size"], row["micro_batch"]) == ("failed", OUT_OF_MEMORY, 1, 1)
    assert str(FULL) in row["error_message"]
    assert {i: scores_of(store, row) for i, row in rows.items()} == {i: whole[i][0] for i in rows}
    assert [p.pack_size for p in told] == [1, 4, None], "what was said of all is taken back"
    sizes.clear()
    with monkeypatch.context() as patch:
        patch.setattr(PackModel, "forward", lambda self, r: (sizes.append((len(self.active), 4)), forward(self, r))[1])
        results(worker, pack, tmp_path / "after")
    assert sizes == [(4, 4)] * 4


def test_a_checkpoint_of_what_was_split_is_of_its_own_last_state(
    folder: Path, tmp_path: Path, trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the second half of a pack that was split: its first half is done, the second goes on."""
    pack, worker = (
        four("tiny-bert", folder, trial, steps=6, eval_every=2),
        Worker(Store(tmp_path / "none"), engine="plain"),
    )
    _, whole = results(worker, pack, tmp_path / "whole")
    make, asked = choice.make, iter(range(100))

    def make_few(name: str, model: Any, some: Any, **kwargs: Any) -> Any:
        if len(some) > 2:
            raise FULL
        return make(name, model, some, **kwargs)

    monkeypatch.setattr(working.choice, "make", make_few)
    worker.store = store = Store(tmp_path / "halves", create=True)
    told = list(worker.run(pack, lambda: next(asked) == 6 + 3))
    assert [e.state for p in told for e in p.ended] == ["completed"] * 2 + ["interrupted"] * 2
    left = [m for m in pack.members if store.load_checkpoint(m.trial.trial_id)]
    assert [checkpoint.Checkpoint.from_bytes(store.load_checkpoint(m.trial.trial_id) or b"").step for m in left] == [
        3,
        3,
    ]
    list(worker.run(replace(pack, members=tuple(left))))
    rows = rows_of(store)
    assert {i: scores_of(store, row) for i, row in rows.items()} == {i: scores for i, (scores, _) in whole.items()}
