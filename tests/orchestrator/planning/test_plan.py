"""Plans: counts, what is left to do, memory and time by arithmetic."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from shell import PER_BACKBONE, SMALL, apet, small, stored

from orchestrator.planning import estimate
from orchestrator.planning.plan import plan
from trials.backbones import get, loaded_parameters, parameters
from trials.modules.methods import named
from trials.sweep.sweep import Sweep
from trials.trial import Source, TaskRef, Training, Trial


def trial(backbone: str, method: str = "lora", **training: int) -> Trial:
    task = TaskRef("rte", Source("hub", "nyu-mll/glue", "main"))
    return Trial(get(backbone), task, named(method), 1e-3, Training(**{"steps": 10, **training}))


def test_trials_and_exact_counts_per_backbone_and_method() -> None:
    made = plan(Sweep.parse(SMALL))
    assert [(one.backbone, one.trials) for one in made.backbones] == [("tiny-bert", 6), ("tiny-t5", 6)]
    assert made.trials == 2 * PER_BACKBONE == 12
    counts = {method.method: method.counts for method in made.backbones[0].methods}
    assert counts["lora rank 2 alpha 16"] == (2 * 2 * 2 * (64 + 64),)  # blocks, q and v, rank, in + out
    assert counts["apet add:1 concat:1 plug:1 discrete"] == (10, 100)
    assert counts["full"] == (loaded_parameters(get("tiny-bert")),)


def test_states_come_from_the_store(tmp_path: Path) -> None:
    store, _ = stored(tmp_path)
    assert plan(Sweep.parse(SMALL), store).states == {"completed": 1, "failed": 1, "diverged": 1, "to do": 9}
    assert plan(Sweep.parse(SMALL)).states == {"to do": 12}


def test_duplicates_and_skipped_are_reported(tmp_path: Path) -> None:
    text = """\
tasks: [rte]
backbones: [tiny-bert]
learning_rates: [0.001]
training: {steps: 1}
blocks:
  - methods: [bitfit]
  - methods: [bitfit, {method: apet, counts: [5, 100000000], over_capacity: skip}]
"""
    made = plan(Sweep.parse(text))
    assert (made.trials, made.duplicates, len(made.skipped)) == (2, 1, 1)
    said = apet("plan", small(tmp_path, text)).stdout
    assert "1 more are the same" in said
    assert "skipped" in said
    assert "100000000" in said


def test_json_has_trials_per_backbone(tmp_path: Path) -> None:
    made = json.loads(apet("plan", small(tmp_path), "--json").stdout)
    assert made["trials"] == 12
    assert {one["backbone"]: one["trials"] for one in made["backbones"]} == {"tiny-bert": 6, "tiny-t5": 6}
    assert made["settings"]["batch_size"] == [2]


def test_trials_have_a_line_each(tmp_path: Path) -> None:
    store, trials = stored(tmp_path)
    lines = apet("plan", small(tmp_path), "--trials", "--store", store.uri).stdout.splitlines()[1:]
    assert [line.split()[0] for line in lines] == [t.trial_id for t in trials]
    assert [line.split("  ")[1].strip() for line in lines[:4]] == ["completed", "failed", "diverged", "to do"]


def test_set_changes_the_plan(tmp_path: Path) -> None:
    said = apet("plan", small(tmp_path), "--set", "training.steps=7", "--set", "backbones=[tiny-t5]", "--json").stdout
    made = json.loads(said)
    assert made["settings"]["steps"] == [7]
    assert made["trials"] == PER_BACKBONE


def test_settings_name_the_targets_of_transfer(tmp_path: Path) -> None:
    targets = ["--set", "evaluate_on=[sst2, mrpc]", "--set", "labels=unified"]
    said = apet("plan", small(tmp_path), *targets)
    assert "  evaluate_on: sst2  mrpc\n" in said.stdout, said.stderr


def test_quiet_store_that_is_not_there_yet(tmp_path: Path) -> None:
    result = apet("plan", small(tmp_path), "--store", tmp_path / "new")
    assert result.exit_code == 0
    assert "everything is to do" in result.stderr
    assert not (tmp_path / "new").exists()


def test_memory_is_weights_and_sixteen_bytes_a_trained_scalar() -> None:
    one = trial("bert-base", batch_size=32)
    needed = estimate.need(one, 1000, 10, pack_size=3, bytes_per_number=2)
    assert (needed.weights, needed.state) == (2000, 3 * 10 * 16)
    block = 96 * 128 * (18 * 768 + 2 * 12 * 128)  # sequences, tokens, bytes of a frozen block
    assert needed.saved == 12 * block
    prompt = estimate.need(replace(one, method=named("prompt", tokens=100)), 1000, 10, 3, 2)
    assert prompt.saved == 12 * 96 * 228 * (18 * 768 + 2 * 12 * 228)  # soft tokens are positions too
    full = estimate.need(trial("bert-base", "full", batch_size=32), 1000, 1000, 1, bytes_per_number=4)
    assert full.saved == 2 * 12 * 32 * 128 * (32 * 768 + 2 * 12 * 128)


def test_a_plan_is_not_below_what_processes_were_seen_to_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peaks of resident memory of a worker with one thread on a CPU, in GiB."""
    monkeypatch.setattr(estimate, "card_bytes", lambda: None)
    for backbone, method, task, batch_size, peak in (
        ("tiny-bert", "lora", "rotten_tomatoes", 4, 0.63),
        ("tiny-t5", "lora", "rotten_tomatoes", 4, 0.71),
        ("quickstart-l6", "lora", "rotten_tomatoes", 32, 1.08),
        ("quickstart-l6", "full", "rotten_tomatoes", 24, 1.55),
        ("quickstart-l6", "full", "sst2", 32, 1.7),
    ):
        text = f"backbones: [{backbone}]\ntasks: [{task}]\nmethods: [{method}]\nlearning_rates: [0.001]\n"
        text += f"training: {{steps: 8, batch_size: {batch_size}}}\nresources: {{gpus: 0}}\n"
        (made,) = plan(Sweep.parse(text)).backbones
        assert peak * 2**30 < made.bytes_per_device < 2 * peak * 2**30


def test_parameters_are_the_published_ones_and_full_trains_what_is_loaded() -> None:
    for name in ("tiny-bert", "tiny-t5", "quickstart-l6"):
        text = SMALL.replace("[tiny-bert, tiny-t5]", f"[{name}]").replace("[rte]", "[sst2]")
        (made,) = plan(Sweep.parse(text if name == "tiny-t5" else text + "head: frozen\n")).backbones
        assert made.parameters == parameters(get(name))
        assert made.methods[0].counts == (loaded_parameters(get(name)),)


def test_a_micro_batch_saves_memory_of_its_rows_alone() -> None:
    one = trial("bert-base", batch_size=32)
    whole, parts = (estimate.need(one, 1000, 10, 1, 4, micro_batch) for micro_batch in (None, 8))
    assert (parts.saved * 4, parts.state, parts.weights) == (whole.saved, whole.state, whole.weights)
    assert estimate.need(one, 1000, 10, 1, 4, 99) == whole
    sweeps = [Sweep.parse(SMALL + f"resources: {{gpus: 1, micro_batch: {rows}}}\n") for rows in ("auto", 1)]
    sizes = [plan(sweep).backbones[0].bytes_per_device for sweep in sweeps]
    assert sizes[0] > sizes[1]


def test_the_longest_task_decides_about_memory() -> None:
    """RTE's pairs are cut at 256 tokens, SST-2's phrases at 128, whatever is first."""
    sweeps = [Sweep.parse(SMALL.replace("[rte]", f"[{tasks}]")) for tasks in ("sst2", "sst2, rte", "rte, sst2", "rte")]
    short, *with_rte = [plan(sweep).backbones[0].bytes_per_device for sweep in sweeps]
    assert len(set(with_rte)) == 1
    assert short < with_rte[0]


def test_the_largest_backbones_need_the_cards_that_they_need() -> None:
    """T5-XXL's LoRA fits one 80 GiB card whole; its full fine-tuning takes a gang that shares the weights."""
    xxl = trial("t5-xxl", batch_size=32, max_input_length=256)
    weights = loaded_parameters(xxl.backbone)
    lora = estimate.need(xxl, weights, 6_291_456, 1, 2)
    assert lora.weights == pytest.approx(20.7 * 2**30, rel=0.01)
    alone = estimate.fit(lora, None, None, None, estimate.CARD_BYTES)
    assert (alone.gpus, alone.zero_stage, alone.offload, alone.fits) == (1, 0, False, True)
    whole = estimate.need(trial("t5-xxl", "full", batch_size=32, max_input_length=256), weights, weights, 1, 2)
    full = estimate.fit(whole, None, None, None, estimate.CARD_BYTES)
    assert full.fits
    assert (full.gpus, full.zero_stage) == (4, 2)
    assert estimate.fit(lora, 4, 3, None, estimate.CARD_BYTES).bytes_per_gpu < alone.bytes_per_gpu


def test_nothing_that_is_given_is_changed_even_if_it_does_not_fit() -> None:
    xxl = trial("t5-xxl", "full")
    weights = loaded_parameters(xxl.backbone)
    fit = estimate.fit(estimate.need(xxl, weights, weights, 1, 4), 1, 0, False, estimate.CARD_BYTES)
    assert (fit.gpus, fit.zero_stage, fit.offload, fit.fits) == (1, 0, False, False)


def test_operations_count_forward_backward_and_evaluation() -> None:
    """By hand: 10 steps of 32 rows, 1 000 rows scored twice (validation, test), 82 tokens a row."""
    one, full = trial("bloom-560m"), trial("bloom-560m", "full")
    assert estimate.flops(one, 1000) == 2 * 1000 * 82 * (10 * 32 * 2 + 2000)
    assert estimate.flops(full, 1000) == 2 * 1000 * 82 * (10 * 32 * 3 + 2000)
    soft = replace(one, method=named("prompt"))
    assert estimate.flops(soft, 1000) == 2 * 1000 * (82 + 100) * (10 * 32 * 2 + 2000)
    target = replace(one.task, name="sst2", test_rows=300)
    assert estimate.flops(replace(one, evaluate_on=(target,)), 1000) - estimate.flops(one, 1000) == 2000 * 29 * 300


def test_validation_is_scored_at_every_evaluation_and_always_at_the_end() -> None:
    assert [estimate.evaluations(*each) for each in ((10, None), (10, 5), (10, 4), (0, 5))] == [1, 2, 3, 1]


def test_the_quickstart_takes_minutes_on_cores_of_a_known_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured: 44 of its trials in 8 minutes, and all 48 in some 9, on two quiet cores of 1.2e11 each."""
    monkeypatch.setattr(estimate, "card_bytes", lambda: None)
    monkeypatch.setattr(estimate, "measured_flops", lambda: 2.4e11)
    seconds = sum(one.worker_s for one in plan(Sweep.load("quickstart")).backbones)
    assert 9 * 60 / 2 < seconds < 9 * 60 * 2


def test_a_prompt_that_may_not_fit_before_the_text_is_warned_of(tmp_path: Path) -> None:
    """RTE's texts have up to 256 tokens, as many as tiny-bert has positions; SST-2's have half of that."""
    text = SMALL.replace("full\n", "{method: prompt, tokens: 4}\n").replace("[rte]", "[rte, sst2]")
    said = apet("plan", small(tmp_path, text)).stdout
    assert [line for line in said.splitlines() if "warning" in line] == [
        "warning: tiny-bert, rte: 4 soft tokens and texts of up to 256 tokens, but 256 positions; trials fail if a "
        "text is too long (a shorter prompt may fit too, or none)"
    ]
    (only,) = plan(Sweep.parse(text.replace("tokens: 4", "tokens: 129").replace("[rte, sst2]", "[sst2]"))).warnings
    assert "128 are sure to fit" in only
    assert plan(Sweep.parse(SMALL)).warnings == ()


def test_gpus_in_the_sweep_are_planned_for(tmp_path: Path) -> None:
    text = SMALL + "resources: {gpus: 2, zero_stage: 3, pack_size: 4}\n"
    made = plan(Sweep.parse(text)).backbones[0]
    assert (made.gpus, made.zero_stage, made.pack_size) == (2, 3, 4)
    assert "GPU-hours" in apet("plan", small(tmp_path, text)).stdout
    on_cpu = plan(Sweep.parse(SMALL + "resources: {gpus: 0}\n")).backbones[0]
    assert (on_cpu.gpus, on_cpu.gpu_hours) == (0, 0)
    assert on_cpu.worker_s > 0


@pytest.mark.parametrize(("memory", "gpus"), [(10**12, 0), (10**6, 1)])
def test_a_card_is_planned_for_where_this_machine_is_too_small(
    memory: int, gpus: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, "card_bytes", lambda: None)
    monkeypatch.setattr(estimate, "machine_bytes", lambda: memory)
    assert {one.gpus for one in plan(Sweep.parse(SMALL)).backbones} == {gpus}
    on_cpu = plan(Sweep.parse(SMALL + "resources: {gpus: 0}\n")).backbones[0]
    assert (on_cpu.gpus, on_cpu.fits) == (0, gpus == 0)
