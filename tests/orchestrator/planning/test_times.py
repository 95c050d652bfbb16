"""Times of a plan: rows of a store that are alike, else arithmetic that no tiny backbone outruns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from shell import SMALL, apet, row, small

from orchestrator.planning import estimate
from orchestrator.planning.plan import plan
from orchestrator.planning.times import START_S, measured, total
from trials.store.store import Store
from trials.sweep.sweep import Sweep
from trials.trial import Trial

ON_CPU = {"device": "cpu", "devices": 1, "pack_size": 1, "validation_rows": 300, "test_rows": 400}


@pytest.fixture(autouse=True)
def one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "cores", lambda: 1)


def of(method: str) -> Trial:
    return next(t for t in Sweep.parse(SMALL).trials() if t.method.name == method)


def trained(trial: Trial, **training: Any) -> Trial:
    return replace(trial, training=replace(trial.training, **training))


def rows(folder: Path, *trials: Trial, **columns: Any) -> Store:
    store = Store(folder / "store", create=True)
    for one in trials:
        store.append(row(one, **{**ON_CPU, **columns}))
    return store


def test_steps_and_evaluations_each_have_their_own_time(tmp_path: Path) -> None:
    """By hand: 8 s for 4 steps; 2 s for 2 evaluations of 300 rows and a test of 400, so .6 s each and .8 s."""
    lora = of("lora")
    known = measured(rows(tmp_path, lora))
    longer = trained(lora, steps=100, eval_every=25)
    seconds = START_S + (8 + 2) + (200 + 4 * 0.6 + 0.8)
    assert total([lora, longer], 0, known) == (pytest.approx(seconds), "measured on rows of the store")


def test_whatever_the_time_depends_on_must_be_alike(tmp_path: Path) -> None:
    lora = of("lora")
    known = measured(rows(tmp_path, lora))
    others = [trained(lora, batch_size=64), trained(lora, precision="bf16"), of("full")]
    others += [replace(lora, task=replace(lora.task, test_rows=9)), replace(lora, evaluate_on=(lora.task,))]
    others += [replace(lora, method=replace(lora.method, tokens=20))]
    for one in others:
        assert total([one], 0, known)[1].startswith("arithmetic"), one
    assert total([lora], 4, known)[1].startswith("arithmetic"), "rows of a CPU say nothing of GPUs"
    assert total([lora], 0, known, pack_size=2)[1].startswith("arithmetic")
    assert total([replace(lora, learning_rate=0.5)], 0, known)[1].startswith("measured")
    assert total([lora, of("full")], 0, known)[1].endswith("rows of the store for 1 trials")
    on_gpu = measured(rows(tmp_path / "gpu", lora, device="cuda"))
    assert total([lora], 1, on_gpu)[1].startswith("measured")
    assert total([lora], 0, on_gpu)[1].startswith("arithmetic")


def test_only_rows_that_ran_to_their_end_count(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", create=True)
    store.append(row(of("lora"), "diverged", **ON_CPU))
    store.append(row(of("full"), "failed", **ON_CPU))
    assert measured(store) == {}


def test_full_is_alone_whatever_the_pack_size(tmp_path: Path) -> None:
    known = measured(rows(tmp_path, of("full")))
    assert total([of("full")], 0, known, pack_size=4)[1].startswith("measured")


def test_a_tiny_backbone_takes_the_time_of_its_layers_calls() -> None:
    """Measured: 7 to 16 ms a step of tiny-bert, whose arithmetic is far below."""
    one = trained(of("lora"), steps=2000, eval_every=None)
    seconds, _ = total([one], 0, {})
    assert seconds >= START_S + 2000 * 2 * estimate.BLOCK_S
    assert estimate.least_s(trained(one, steps=4000)) - estimate.least_s(one) == pytest.approx(
        2000 * 2 * estimate.BLOCK_S
    )
    small_t5 = next(t for t in Sweep.parse(SMALL).trials() if t.backbone.family == "t5")
    assert estimate.least_s(small_t5) == pytest.approx(2 * estimate.least_s(of("lora"))), "a decoder's blocks too"


def test_a_core_has_one_worker_as_long_as_there_are_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    lora = of("lora")
    many = [replace(lora, learning_rate=rate / 100) for rate in range(1, 9)]
    alone = total(many, 0, {})[0] - START_S
    monkeypatch.setattr(estimate, "cores", lambda: 4)
    monkeypatch.setattr(estimate, "measured_flops", lambda: 1e12)
    assert total(many, 0, {})[0] - START_S == pytest.approx(alone / 4)
    assert total(many, 0, {}, pack_size=4)[0] - START_S == pytest.approx(alone / 2), "two packs, two workers"


def test_a_gang_shares_the_work() -> None:
    text = SMALL.replace("[tiny-bert, tiny-t5]", "[t5-xxl]").replace("batch_size: 2", "batch_size: 512")
    alone, gang = (total(Sweep.parse(text).trials()[:1], gpus, {})[0] - START_S for gpus in (1, 2))
    assert alone == pytest.approx(2 * gang)


def test_the_plan_takes_the_store_and_says_whose_time_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "card_bytes", lambda: None)
    sweep = Sweep.parse(SMALL.replace("learning_rates: [1.0e-3]", "learning_rates: [1.0e-3, 2.0e-3]"))
    store = rows(tmp_path, *[t for t in sweep.trials() if t.learning_rate == 1e-3])
    assert {one.basis for one in plan(sweep, store).backbones} == {"measured on rows of the store"}
    said = apet("plan", small(tmp_path), "--set", "resources={gpus: 0}").stdout
    assert "time for what is to do, on all cores of this machine" in said
