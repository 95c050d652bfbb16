"""Times of a plan: rows of a store that are alike, else arithmetic that no tiny backbone outruns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from shell import SMALL, apet, row, small

from orchestrator.planning.devices import Machine
from orchestrator.planning.plan import plan
from orchestrator.planning.times import BLOCK_S, START_S, least_s, measured, work
from orchestrator.planning.work import batches
from trials.setup import Setup
from trials.store.calibration import Calibration, Conditions
from trials.store.store import Store
from trials.sweep.sweep import Sweep
from trials.trial import Trial

ON_CPU = {"device": "cpu", "devices": 1, "pack_size": 1, "validation_rows": 300, "test_rows": 400}


CPU, PACKS, GPU, GANG = Setup("cpu"), Setup("cpu", pack_size=2), Setup("cuda", gpus=1), Setup("cuda", gpus=4, ranks=4)


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
    seconds = (8 + 2) + (200 + 4 * 0.6 + 0.8)
    assert work([lora, longer], CPU, known) == (pytest.approx(seconds), "measured on rows of the store")


def test_whatever_the_time_depends_on_must_be_alike(tmp_path: Path) -> None:
    lora = of("lora")
    known = measured(rows(tmp_path, lora))
    others = [trained(lora, batch_size=64), trained(lora, precision="bf16"), of("full")]
    others += [replace(lora, task=replace(lora.task, test_rows=9)), replace(lora, evaluate_on=(lora.task,))]
    others += [replace(lora, method=replace(lora.method, tokens=20))]
    for one in others:
        assert work([one], CPU, known)[1].startswith("arithmetic"), one
    assert work([lora], GANG, known)[1].startswith("arithmetic"), "rows of a CPU say nothing of GPUs"
    assert work([replace(lora, learning_rate=0.5)], CPU, known)[1].startswith("measured")
    assert work([lora, of("full")], CPU, known)[1].endswith("rows of the store for 1 trials")
    on_gpu = measured(rows(tmp_path / "gpu", lora, device="cuda"))
    assert work([lora], GPU, on_gpu)[1].startswith("measured")
    assert work([lora], CPU, on_gpu)[1].startswith("arithmetic")


def test_only_rows_that_ran_to_their_end_count(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", create=True)
    store.append(row(of("lora"), "diverged", **ON_CPU))
    store.append(row(of("full"), "failed", **ON_CPU))
    assert measured(store) == {}


def test_of_several_pack_sizes_the_nearest_counts(tmp_path: Path) -> None:
    lora, store = of("lora"), Store(tmp_path / "store", create=True)
    for number, (pack_size, train_s) in enumerate([(1, 8.0), (1, 10.0), (1, 12.0), (3, 6.0), (8, 4.0)]):
        one = replace(lora, train_seed=number)
        store.append(row(one, **{**ON_CPU, "pack_size": pack_size, "train_s": train_s, "eval_s": 0.0}))
    known = measured(store)
    found = {size: work([lora], Setup("cpu", pack_size=size), known) for size in (1, 2, 4, 5, 64)}
    assert {size: seconds for size, (seconds, _) in found.items()} == {1: 10, 2: 6, 4: 6, 5: 4, 64: 4}
    assert {basis for _, basis in found.values()} == {"measured on rows of the store"}


def test_a_calibration_gives_the_ratio_of_pack_sizes_and_where_there_are_no_rows_the_step(tmp_path: Path) -> None:
    """By hand: rows of packs of one say 10 s; four together take three quarters of the time of each."""
    lora = of("lora")
    seconds = {1: 0.4, 2: 0.35, 4: 0.3}
    calibration = Calibration(Conditions.of(lora, PACKS, "fp32", "A CPU"), seconds, seconds, "cpu")
    known = measured(rows(tmp_path, lora))
    four = Setup("cpu", pack_size=4)
    assert work([lora], four, known, calibration) == (pytest.approx(7.5), "measured on rows of the store")
    trained, scored = batches(lora)
    assert work([lora], four, {}, calibration) == (
        pytest.approx(0.3 * (trained + scored / 2)),
        "a step as measured by a worker in packs of 4",
    )


def test_full_is_alone_whatever_the_pack_size(tmp_path: Path) -> None:
    known = measured(rows(tmp_path, of("full")))
    assert work([of("full")], PACKS, known)[1].startswith("measured")


def test_a_tiny_backbone_takes_the_time_of_its_layers_calls() -> None:
    """Measured: 7 to 16 ms a step of tiny-bert, whose arithmetic is far below."""
    one = trained(of("lora"), steps=2000, eval_every=None)
    seconds, _ = work([one], CPU, {})
    assert seconds >= 2000 * 2 * BLOCK_S
    assert least_s(trained(one, steps=4000)) - least_s(one) == pytest.approx(2000 * 2 * BLOCK_S)
    small_t5 = next(t for t in Sweep.parse(SMALL).trials() if t.backbone.family == "t5")
    assert least_s(small_t5) == pytest.approx(2 * least_s(of("lora"))), "a decoder's blocks too"


def test_workers_run_side_by_side_as_long_as_there_are_trials() -> None:
    rates = "learning_rates: [0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08]"
    text = SMALL.replace("  - full\n", "").replace("learning_rates: [1.0e-3]", rates)
    text = text.replace("  - {method: apet, counts: [10, 100], position_seeds: 2}\n", "")

    def seconds(cpus: int, pack_size: int = 1) -> float:
        sweep = Sweep.parse(f"{text}resources: {{pack_size: {pack_size}}}\n")
        return plan(sweep, machines=[Machine(cpus, 10**12)]).backbones[0].cpu_s - START_S

    assert seconds(4) == pytest.approx(seconds(1) / 4)
    assert seconds(4, pack_size=4) == pytest.approx(seconds(1) / 4), "packs are split before a worker is idle"
    assert seconds(16) == pytest.approx(seconds(1) / 8), "a trial isn't"


def test_a_gang_shares_the_work() -> None:
    text = SMALL.replace("[tiny-bert, tiny-t5]", "[t5-xxl]").replace("batch_size: 2", "batch_size: 512")
    lora = [t for t in Sweep.parse(text).trials() if t.method.name == "lora"]
    alone, gang = (work(lora, setup, {})[0] for setup in (GPU, GANG))
    assert alone == pytest.approx(4 * gang, rel=0.01), "but for the gradients that are added up"
    on_cpu = [work(lora, Setup("cpu", ranks=ranks), {})[0] for ranks in (1, 2)]
    assert on_cpu[0] == pytest.approx(2 * on_cpu[1], rel=0.01)


def test_rows_of_another_gang_say_nothing(tmp_path: Path) -> None:
    lora = of("lora")
    known = measured(rows(tmp_path, lora, ranks=2, devices=2, zero_stage=3))
    assert work([lora], Setup("cpu", ranks=2, zero_stage=3), known)[1].startswith("measured")
    for other in (CPU, Setup("cpu", ranks=2), Setup("cpu", ranks=2, zero_stage=3, recompute=True)):
        assert work([lora], other, known)[1].startswith("arithmetic"), other


def test_the_plan_takes_the_store_and_says_whose_time_it_is(tmp_path: Path) -> None:
    sweep = Sweep.parse(SMALL.replace("learning_rates: [1.0e-3]", "learning_rates: [1.0e-3, 2.0e-3]"))
    store = rows(tmp_path, *[t for t in sweep.trials() if t.learning_rate == 1e-3])
    made = plan(sweep, store, [Machine(1, 10**12)])
    assert {group.basis for one in made.backbones for group in one.groups} == {"measured on rows of the store"}
    said = apet("plan", small(tmp_path), "--set", "resources={gpus: 0}").stdout
    assert "time for what is to do: " in said
    assert "of a core of this CPU" in said
