"""Memory that runs out in a pack costs no trial and no number: first half the pack a pass, then half the pack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_for_tests import FAMILIES
from worker_for_tests import pack_of, rows_of, scores

from trials.failures import OUT_OF_MEMORY
from trials.pack import Pack
from trials.store.store import Store
from trials.trial import Training, Trial
from workers import worker as working
from workers.engines import choice
from workers.engines.plain import PlainEngine
from workers.engines.whole import WholeTensors
from workers.modules.model import PackModel
from workers.pack import checkpoint
from workers.pack.progress import Progress
from workers.worker import Worker

FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
STEPS = 32
families = pytest.mark.parametrize("name", FAMILIES)


def four(name: str, folder: Path, trial: Any, **training: Any) -> Pack:
    """Four trials of as many kinds."""
    fields = {"training": Training(**{"steps": STEPS, "batch_size": 4, "eval_every": 8, **training})}
    return pack_of(
        folder,
        trial(name, count=500, trial=fields),
        trial(name, count=90, operations={"add": 1}, trial={**fields, "learning_rate": 3e-2}),
        trial(name, method="lora", trial=fields),
        trial(name, method="bitfit", trial=fields),
    )


def results(worker: Worker, pack: Pack, place: Path) -> tuple[list[Progress], dict[str, Any]]:
    """What a worker tells of a pack, and what it leaves in a store of its own."""
    worker.store = Store(place, create=True)
    told = list(worker.run(pack))
    rows = rows_of(worker.store)
    return told, {i: (scores_of(worker.store, rows[i]), worker.store.load_module(rows[i]["module_uri"])) for i in rows}


def scores_of(store: Store, row: dict[str, Any]) -> dict[str, Any]:
    curve = [(p["step"], p["value"], p["loss"]) for p in store.curves().to_pylist() if p["trial_id"] == row["trial_id"]]
    return {**{k: row[k] for k in ("state", "steps_done", "diverged_at")}, "curve": curve} | scores(
        store, Trial.from_spec(row["spec"])
    )


def short_of_memory(what: Callable[..., Any], most: int, since: int, seen: list[int]) -> Callable[..., Any]:
    """A method of the model that has no room for more than so many slices, from its call number ``since`` on."""

    def method(self: PackModel, *args: Any, **kwargs: Any) -> Any:
        seen.append(len(self.active))
        found = what(self, *args, **kwargs)
        if len(seen) >= since and seen[-1] > most:
            raise FULL
        return found

    return method


@pytest.mark.parametrize("step", [1, 30])
@families
def test_a_step_goes_on_in_halves_of_the_pack(
    name: str, step: int, folder: Path, tmp_path: Path, trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack, worker, seen = four(name, folder, trial), Worker(Store(tmp_path / "none")), list[int]()
    _, whole = results(worker, pack, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(PackModel, "forward", short_of_memory(PackModel.forward, 2, step, seen))
        told, halves = results(worker, pack, tmp_path / "halves")
    assert halves == whole
    assert seen == [4] * step + [2, 2] * (STEPS - step + 1), "tried once, then two passes a step"
    assert [p.step for p in told] == [8, 16, 24, 32], "nothing was begun again"
    assert [p.pack_size for p in told] == [2 if p.step >= step else None for p in told]
    assert {(r["pack_size"], r["micro_batch"]) for r in rows_of(worker.store).values()} == {(2, None)}


@families
def test_later_packs_begin_with_what_was_learnt_and_others_do_not(
    name: str, folder: Path, tmp_path: Path, trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack, worker, seen = four(name, folder, trial, steps=2), Worker(Store(tmp_path / "none")), list[int]()
    monkeypatch.setattr(PackModel, "forward", short_of_memory(PackModel.forward, 1, 1, seen))
    for n, (of, passes, size) in enumerate(
        (
            (pack, [4, 2, *[1] * 8], 1),
            (pack, [1] * 8, 1),
            (four(name, folder, trial, steps=2, batch_size=3), [4, 2, *[1] * 8], 1),
            (replace(pack, members=pack.members[:1]), [1] * 2, None),
        )
    ):
        seen.clear()
        told, _ = results(worker, of, tmp_path / str(n))
        assert (seen, told[-1].pack_size) == (passes, size)


@families
def test_scoring_goes_on_in_halves_and_training_stays_whole(
    name: str, folder: Path, tmp_path: Path, trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    what = "predict" if name == "tiny-bert" else "generate"
    pack, worker = four(name, folder, trial, steps=4, eval_every=2), Worker(Store(tmp_path / "none"))
    _, whole = results(worker, pack, tmp_path / "whole")
    scored, trained = list[int](), list[int]()
    with monkeypatch.context() as patch:
        patch.setattr(PackModel, what, short_of_memory(getattr(PackModel, what), 2, 3, scored))
        patch.setattr(PackModel, "forward", short_of_memory(PackModel.forward, 9, 1, trained))
        told, halves = results(worker, pack, tmp_path / "halves")
    assert halves == whole
    assert scored == [4] * 3 + [2] * 8 * 3, "the third of four batches: again from the first, two trials a pass"
    assert trained == [4] * 4
    assert [p.pack_size for p in told] == [2, 2]


@pytest.mark.parametrize("name", ["tiny-bloom", "tiny-t5"])
def test_memory_that_runs_out_between_two_tokens(
    name: str, folder: Path, tmp_path: Path, trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = {"max_generated_length": 6, "steps": 4, "eval_every": 2}
    pack, worker = four(name, folder, trial, **long), Worker(Store(tmp_path / "none"))
    _, whole = results(worker, pack, tmp_path / "whole")
    generate, raised = PackModel.generate, []

    def runs_out(self: PackModel, *args: Any) -> Any:
        calls = []

        def third_token(*_: Any) -> None:
            calls.append(1)
            if len(calls) == 3 and len(self.active) > 1:
                raised.append(len(self.active))
                raise FULL

        handle = self.backbone.get_output_embeddings().register_forward_pre_hook(third_token)  # type: ignore[operator]
        try:
            return generate(self, *args)
        finally:
            handle.remove()

    with monkeypatch.context() as patch:
        patch.setattr(PackModel, "generate", runs_out)
        _, parts = results(worker, pack, tmp_path / "parts")
    assert raised == [4, 2]
    assert parts == whole


# What all trials hold together: fewer slices a pass don't help, so half of the pack trains after the other.


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

    def make_few(name: str, model: Any, some: Any) -> Any:
        if len(some) > 2:
            raise FULL
        return make(name, model, some)

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
    assert told[-1].pack_size is None
    sizes.clear()
    with monkeypatch.context() as patch:
        patch.setattr(PackModel, "forward", lambda self, r: (sizes.append((len(self.active), 4)), forward(self, r))[1])
        results(worker, pack, tmp_path / "after")
    assert sizes == [(4, 4)] * 4


@families
def test_full_fine_tuning_halves_its_rows_and_fails_alone(
    name: str, folder: Path, tmp_path: Path, trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = trial(name, method="full", trial={"learning_rate": 1e-4})
    worker, forward, sizes = Worker(Store(tmp_path / "store", create=True)), PackModel.forward, list[int]()
    list(worker.run(pack_of(folder, one)))

    def room_for(most: int) -> Callable[..., Any]:
        def method(self: PackModel, rows: Any) -> Any:
            sizes.append(len(rows["input_ids"]))
            if sizes[-1] > most:
                raise FULL
            return forward(self, rows)

        return method

    whole = rows_of(worker.store)[one.trial_id]
    for most, state, micro_batch in ((2, "completed", 2), (0, "failed", 1)):
        worker.store = Store(tmp_path / str(most), create=True)
        with monkeypatch.context() as patch:
            patch.setattr(PackModel, "forward", room_for(most))
            list(worker.run(pack_of(folder, one)))
        row = rows_of(worker.store)[one.trial_id]
        assert (row["state"], row["micro_batch"], row["pack_size"]) == (state, micro_batch, 1)
        if state == "completed":
            assert row["train_loss"] == pytest.approx(whole["train_loss"], abs=1e-5)
    after = trial(name, count=300)
    assert [e.state for p in worker.run(pack_of(folder, after)) for e in p.ended] == ["completed"]


def test_halves_on_deepspeed(folder: Path, tmp_path: Path, trial: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pack, seen = four("tiny-t5", folder, trial, steps=4, eval_every=2), list[int]()
    worker = Worker(Store(tmp_path / "none"), engine="deepspeed")
    _, whole = results(worker, pack, tmp_path / "whole")
    monkeypatch.setattr(PackModel, "forward", short_of_memory(PackModel.forward, 2, 2, seen))
    _, halves = results(worker, pack, tmp_path / "halves")
    assert halves == whole
    assert seen == [4, 4, *[2] * 6]


def test_a_checkpoint_of_what_was_split_is_of_its_own_last_state(
    folder: Path, tmp_path: Path, trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the second half of a pack that was split: its first half is done, the second goes on."""
    pack, worker = four("tiny-bert", folder, trial, steps=6, eval_every=2), Worker(Store(tmp_path / "none"), engine="plain")
    _, whole = results(worker, pack, tmp_path / "whole")
    make, asked = choice.make, iter(range(100))

    def make_few(name: str, model: Any, some: Any) -> Any:
        if len(some) > 2:
            raise FULL
        return make(name, model, some)

    monkeypatch.setattr(working.choice, "make", make_few)
    worker.store = store = Store(tmp_path / "halves", create=True)
    told = list(worker.run(pack, lambda: next(asked) == 6 + 3))
    assert [e.state for p in told for e in p.ended] == ["completed"] * 2 + ["interrupted"] * 2
    left = [m for m in pack.members if store.load_checkpoint(m.trial.trial_id)]
    assert [checkpoint.Checkpoint.from_bytes(store.load_checkpoint(m.trial.trial_id) or b"").step for m in left] == [3, 3]
    list(worker.run(replace(pack, members=tuple(left))))
    rows = rows_of(store)
    assert {i: scores_of(store, row) for i, row in rows.items()} == {i: scores for i, (scores, _) in whole.items()}
