"""Plans: counts, what is left to do, memory and time by arithmetic."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from shell import PER_BACKBONE, SMALL, apet, refused, small, stored

from orchestrator.commands.planned import text as printed
from orchestrator.planning import devices, times
from orchestrator.planning.devices import Machine, machine_with
from orchestrator.planning.plan import GroupPlan, plan
from trials.backbones import get, loaded_parameters, parameters
from trials.sweep.sweep import Sweep

GIB = 2**30
TWO_CORES = Machine(2, 24 * GIB, name="laptop")


@pytest.fixture(autouse=True)
def no_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_cards", lambda visible: ())


def groups(text: str, *machines: Machine) -> list[GroupPlan]:
    """Of the sweep's first backbone."""
    return list(plan(Sweep.parse(text), machines=machines or None).backbones[0].groups)


def most(text: str) -> int:
    return max(one.bytes_per_device for one in groups(text))


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
    assert "  evaluate_on: mrpc  sst2\n" in said.stdout, said.stderr


def test_what_may_change_on_the_hub_is_said(tmp_path: Path) -> None:
    text = "backbones: [t5-small, t5-base]\ntasks: [multi_news, samsum]\nmethods: [lora]\nlearning_rates: [0.1]\n"
    said = apet("plan", small(tmp_path, text + "training: {steps: 1}\n"), env={"APET_DATA": ""}).stdout
    warned = [line for line in said.splitlines() if "no commit" in line]
    assert len(warned) == 2
    assert warned[0].startswith("warning: backbone t5-small: its weights are google/t5-v1_1-small on the hub at main")
    assert "{name: t5-small, model_dir: FOLDER}" in warned[0]
    assert "task multi_news: its data is alexfabbri/multi_news on the hub at refs/convert/parquet" in warned[1]
    assert "{name: multi_news, data_dir: FOLDER}" in warned[1]


def test_settings_that_cannot_act_are_printed_as_what_they_come_to(tmp_path: Path) -> None:
    said = apet("plan", small(tmp_path), "--set", "training.early_stop=7", "--set", "training.eval_every=4").stdout
    assert "  eval_every: at the end only\n" in said
    assert "  early_stop: never\n" in said


def test_quiet_store_that_is_not_there_yet(tmp_path: Path) -> None:
    result = apet("plan", small(tmp_path), "--store", tmp_path / "new")
    assert result.exit_code == 0
    assert "everything is to do" in result.stderr
    assert not (tmp_path / "new").exists()


def test_a_plan_is_not_below_what_processes_were_seen_to_take() -> None:
    """Peaks of resident memory of a worker with one thread on a CPU, in GiB."""
    for backbone, method, task, batch_size, peak in (
        ("tiny-bert", "lora", "rotten_tomatoes", 4, 0.63),
        ("tiny-t5", "lora", "rotten_tomatoes", 4, 0.71),
        ("quickstart-l6", "lora", "rotten_tomatoes", 32, 1.08),
        ("quickstart-l6", "full", "rotten_tomatoes", 24, 1.55),
        ("quickstart-l6", "full", "sst2", 32, 1.7),
    ):
        text = f"backbones: [{backbone}]\ntasks: [{task}]\nmethods: [{method}]\nlearning_rates: [0.001]\n"
        text += f"training: {{steps: 8, batch_size: {batch_size}}}\nresources: {{gpus: 0, pack_size: 1}}\n"
        assert peak * GIB < most(text) < 2 * peak * GIB


def test_parameters_are_the_published_ones_and_full_trains_what_is_loaded() -> None:
    for name in ("tiny-bert", "tiny-t5", "quickstart-l6"):
        text = SMALL.replace("[tiny-bert, tiny-t5]", f"[{name}]").replace("[rte]", "[sst2]")
        (made,) = plan(Sweep.parse(text if name == "tiny-t5" else text + "head: frozen\n")).backbones
        assert made.parameters == parameters(get(name))
        assert made.methods[0].counts == (loaded_parameters(get(name)),)


def test_a_micro_batch_that_is_given_is_planned_for() -> None:
    sizes = [most(SMALL + f"resources: {{gpus: 1, micro_batch: {rows}}}\n") for rows in ("auto", 1)]
    assert sizes[0] > sizes[1]


def test_the_longest_task_decides_about_memory() -> None:
    """RTE's pairs are cut at 256 tokens, SST-2's phrases at 128, whatever is first."""
    texts = [SMALL.replace("[rte]", f"[{tasks}]") for tasks in ("sst2", "sst2, rte", "rte, sst2", "rte")]
    short, *with_rte = map(most, texts)
    assert len(set(with_rte)) == 1
    assert short < with_rte[0]


def test_the_quickstart_takes_minutes_on_cores_of_a_known_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured: 44 of its trials in 8 minutes, and 48 of all 50 in some 9, on two quiet cores of 1.2e11 each."""
    monkeypatch.setattr(times, "core_flops", lambda: 1.2e11)
    seconds = sum(one.cpu_s for one in plan(Sweep.load("quickstart"), machines=[TWO_CORES]).backbones)
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
    full, others = groups(text)
    assert (full.setup.gpus, full.setup.zero_stage, full.setup.pack_size) == (2, 3, 1)
    assert (others.setup.gpus, others.setup.zero_stage, others.setup.pack_size) == (2, 3, 4)
    assert "GPU-hours" in apet("plan", small(tmp_path, text)).stdout
    on_cpu = plan(Sweep.parse(SMALL + "resources: {gpus: 0}\n")).backbones[0]
    assert ({one.setup.gpus for one in on_cpu.groups}, on_cpu.gpu_hours) == ({0}, 0)
    assert on_cpu.cpu_s > 0


@pytest.mark.parametrize(("memory", "gpus"), [(24 * GIB, 0), (10**6, 1)])
def test_a_card_is_planned_for_where_this_machine_is_too_small(memory: int, gpus: int) -> None:
    machine = Machine(2, memory, name="laptop")
    made = groups(SMALL, machine)
    assert {(one.setup.gpus, one.assumed, one.fits) for one in made} == {(gpus, gpus == 1, True)}
    assert all(bool(one.refusal) == (gpus == 1) for one in made)
    on_cpu = groups(SMALL + "resources: {gpus: 0}\n", machine)
    assert {(one.setup.gpus, one.assumed, one.fits) for one in on_cpu} == {(0, False, gpus == 0)}


def test_workers_on_cpus_share_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """bert-large takes some 10 GiB a worker: 32 cores, but only five at a time in nine tenths of 64 GiB."""
    monkeypatch.setattr(times, "core_flops", lambda: 1e11)
    text = SMALL.replace("[tiny-bert, tiny-t5]", "[bert-large]").replace("batch_size: 2", "batch_size: 32")
    text = text.replace("  - full\n", "").replace("[1.0e-3]", "[1, 2, 3, 4, 5, 6, 7]")
    wide, narrow = Machine(32, 1000 * GIB), Machine(32, 64 * GIB)
    for machine in (wide, narrow):
        for one in groups(text, machine):
            assert one.at_once == min(32, int(machine.memory * 0.9) // one.setup.memory)
    assert {one.at_once for one in groups(text, narrow)} == {5}
    seconds = [plan(Sweep.parse(text), machines=[machine]).backbones[0].cpu_s for machine in (wide, narrow)]
    assert seconds[1] > 5 * seconds[0], "32 at a time, or a few"


def test_a_plan_says_what_it_assumed_and_names_every_group_that_is_refused(tmp_path: Path) -> None:
    """Nothing of T5-XXL fits a laptop; full fine-tuning doesn't fit one card, or the memory beside it."""
    text = SMALL.replace("[tiny-bert, tiny-t5]", "[tiny-bert, t5-xxl]")
    made = plan(Sweep.parse(text), machines=[TWO_CORES])
    assert made.machines == "laptop, 2 CPUs, 24.0 GiB of memory, no GPU"
    assert [one.partition(" on rte: ")[0] for one in made.refused] == [
        "t5-xxl full",
        "t5-xxl lora rank 2 alpha 16, apet add:1 concat:1 plug:1 discrete",
    ]
    assert all(
        "a worker on the CPU takes" in one and "24.0 GiB of memory, no GPU, of which 90% of memory" in one
        for one in made.refused
    )
    on_cards = plan(Sweep.parse(text), machines=[machine_with("a100-80", 1)])
    assert [one.partition(" on rte: ")[0] for one in on_cards.refused] == ["t5-xxl full"]
    said = apet("plan", small(tmp_path, text), "--gpu", "a100-80").stdout
    assert "planned for a machine with a100-80, 8 CPUs, 128.0 GiB of memory, 1 GPU of 80.0 GiB" in said
    more = "; on a machine with 4 such GPUs, with 512.0 GiB of memory, it would be 1 GPU at ZeRO stage 2 with offload"
    assert more in on_cards.refused[0]
    assert (
        "t5-xxl (lora rank 2 alpha 16, apet add:1 concat:1 plug:1 discrete): one GPU holds all of it; the whole" in said
    )
    assert f"refused by `apet run`: {on_cards.refused[0]}" in said
    assert "assumed" not in said
    refused("plan", small(tmp_path, text), "--gpu", "a100", says=["GPU 'a100'", "Choices:", "h200-141"])


def test_a_plan_for_an_assumed_card_says_so(tmp_path: Path) -> None:
    said = apet("plan", small(tmp_path, SMALL + "resources: {gpus: 2}\n")).stdout
    assert "what takes GPUs is planned for an assumed machine" in said
    assert "8 GPUs of 80.0 GiB" in said


def test_a_plan_says_that_a_gang_spans_machines() -> None:
    text = SMALL.replace("[tiny-bert, tiny-t5]", "[tiny-bert]").replace("  - full\n", "")
    made = plan(Sweep.parse(text + "resources: {ranks: 2}\n"), machines=[Machine(1, 24 * GIB, name="node", count=3)])
    said = printed(made)
    assert "2 on 2 machines" in said
    assert "resources.ranks is 2; spread over 2 machines, for no single one holds it" in said
    assert not made.refused
