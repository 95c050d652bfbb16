"""Where memory is short a batch goes through in parts, with the numbers of the whole batch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_for_tests import FAMILIES, batch, frozen, pack
from worker_for_tests import given

from trials.pack import Member, Pack, Sources
from trials.setup import Setup
from trials.store.store import Store
from trials.trial import Training, Trial
from workers.engines import choice
from workers.engines.engine import Group
from workers.modules.model import PackModel
from workers.pack.loop import Job, _gradients, _step
from workers.pack.memory import OutOfMemoryError, memory_named
from workers.pack.portions import Limits, Portions
from workers.pack.state import TrialState
from workers.rows.batches import IGNORED, Batch
from workers.worker import Worker

CPU_FULL = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
GPU_FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def uneven(name: str) -> Batch:
    """Four rows; where targets are generated they have one, two and three tokens or more."""
    tensors = batch(name)
    if "labels" in tensors:
        labels = tensors["labels"].clone()
        for row, length in enumerate((1, 2, 3)):
            labels[row, (0 if name == "tiny-t5" else 6) + length :] = IGNORED
        tensors["labels"] = labels
    return Batch(tensors, (0, 1, 2, 3), 36)


@pytest.mark.parametrize("engine_name", choice.ENGINES)
@pytest.mark.parametrize("name", FAMILIES)
def test_parts_add_up_to_the_whole_batch(name: str, engine_name: str, trial: Any) -> None:
    trials = [trial(name, count=700), trial(name, method="lora", trial={"learning_rate": 1e-3})]
    nothing: Any = None
    found = {}
    for rows in (4, 3, 1):
        with pack(frozen(name), trials) as (model, modules):
            states = [TrialState(Member(t), i) for i, t in enumerate(trials)]
            groups = [Group([p], t.learning_rate) for t, p in zip(trials, modules.thetas, strict=True)]
            engine = choice.make(engine_name, model, groups)
            job = Job(model, engine, states, Training(9, 4), 0, nothing, nothing, nothing, Limits.of(rows))
            losses = _gradients(job, states, uneven(name), rows)
            gradients = [p.grad.clone() for p in modules.thetas if p.grad is not None]
            engine.step()
            _step(job, 2, uneven(name))
            found[rows] = [losses, *gradients, *(p.detach().clone() for p in modules.thetas)]
            engine.close()
    assert len(found[4]) == 5
    for rows in (3, 1):
        for whole, parts in zip(found[4], found[rows], strict=True):
            torch.testing.assert_close(whole, parts, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("error", [GPU_FULL, CPU_FULL], ids=["gpu", "cpu"])
@pytest.mark.parametrize("name", FAMILIES)
def test_out_of_memory_halves_the_parts_and_goes_on(
    name: str, error: RuntimeError, tmp_path: Path, trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = trial(name, count=700, trial={"training": Training(steps=6, batch_size=8, eval_every=3)})
    whole, sizes = run(one, tmp_path / "whole", tmp_path), []
    forward = PackModel.forward

    def short_of_memory(self: PackModel, rows: Any) -> torch.Tensor:
        sizes.append(len(rows["input_ids"]))
        losses = forward(self, rows)
        if sizes[-1] > 4 or sizes[-2:] == [4, 4]:  # the second half fails where the first has left its gradients
            raise error
        return losses

    monkeypatch.setattr(PackModel, "forward", short_of_memory)
    parts = run(one, tmp_path / "parts", tmp_path)
    assert sizes == [8, 4, 4] + [2] * 4 * 6  # tried twice, then six steps of four parts
    assert parts["state"] == whole["state"] == "completed"
    assert parts["train_loss"] == pytest.approx(whole["train_loss"], abs=1e-5)
    same = ("test_score", "validation_score", "best_step", "tokens", "count_actual")
    assert [parts[key] for key in same] == [whole[key] for key in same]


def test_a_micro_batch_asked_for_is_kept(tmp_path: Path, trial: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    one = trial("tiny-bert", trial={"training": Training(steps=2, batch_size=8)})
    sizes, forward = [], PackModel.forward
    monkeypatch.setattr(
        PackModel, "forward", lambda self, rows: (sizes.append(len(rows["input_ids"])), forward(self, rows))[1]
    )
    assert run(one, tmp_path / "store", tmp_path, micro_batch=5)["state"] == "completed"
    assert sizes == [5, 3] * 2


def test_a_row_that_does_not_fit_and_other_errors_are_raised() -> None:
    tried, undone = [], []

    def never_fits(slices: Any, rows: int) -> Any:
        tried.append((len(slices), rows))
        raise GPU_FULL

    with pytest.raises(OutOfMemoryError):
        Portions(8).fit("abcde", never_fits, undo=lambda: undone.append(1))
    assert (tried, len(undone)) == ([(5, 8), (3, 8), (2, 8), (1, 8), (1, 4), (1, 2), (1, 1)], 6)
    with pytest.raises(RuntimeError, match="shape"):
        Portions(8).fit("ab", lambda slices, rows: torch.ones(2).view(3))


def test_the_machine_s_own_memory_is_recognised() -> None:
    def one_dnn() -> None:
        raise RuntimeError("could not create a primitive")

    for too_much in (lambda: torch.empty(2**46), lambda: bytearray(2**60), one_dnn):
        with pytest.raises(OutOfMemoryError), memory_named():
            too_much()


def run(one: Trial, store: Path, folder: Path, micro_batch: int | None = None) -> dict[str, Any]:
    """The row of a trial on 24 reviews."""
    rows = [{"text": f"a {word} film number {i}", "label": i % 2} for i, word in enumerate(("dull", "fine") * 12)]
    for split in ("train", "validation", "test"):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    one, sources = given(one, folder), Sources(f"random:{one.backbone.name}", f"folder:{folder}")
    kept = Store(store, create=True)
    setup = Setup("cpu", threads=1, micro_batch=micro_batch)
    for _ in Worker(kept, engine="plain").run(Pack("pack", (Member(one),), sources, setup=setup)):
        pass
    (row,) = kept.trials().to_pylist()
    return dict(row)
