"""Memory that runs out in a pack costs no trial and no number: first half the pack a pass, then half the pack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from four_for_tests import FULL, STEPS, four, results
from tiny_for_tests import FAMILIES
from worker_for_tests import pack_of, rows_of

from trials.store.store import Store
from workers import worker as workers
from workers.modules.model import PackModel
from workers.pack.memory import give_back
from workers.worker import Worker

families = pytest.mark.parametrize("name", FAMILIES)


@pytest.fixture(autouse=True)
def _nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept for speed would go first, and the same pass be tried once more (``test_kept.py``)."""
    monkeypatch.setattr(workers, "free_bytes", lambda device: 0)


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


def test_what_was_learnt_of_rows_with_soft_tokens_says_nothing_of_shorter_ones(
    folder: Path, tmp_path: Path, trial: Any
) -> None:
    worker = Worker(Store(tmp_path / "none"))
    methods = ({"method": "lora"}, *({"method": "prompt", "tokens": n} for n in (5, 9)))
    some = [pack_of(folder, trial(**method)) for method in methods]
    worker.backbone(some[0])
    limits = [worker.limits(one) for one in (*some, some[0])]
    assert limits[3] is limits[0]
    assert len({id(one) for one in limits}) == 3


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


def test_what_torch_keeps_of_freed_memory_is_given_back_the_machines_too(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: given.append("the card's"))
    monkeypatch.setattr(torch._C, "_host_emptyCache", lambda: given.append("the machine's"), raising=False)
    give_back()
    assert given == ["the card's", "the machine's"]
