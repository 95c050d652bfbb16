"""The one decision about hardware: what fits, the cheapest first; the same for a plan and for a run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fits_for_tests import GIB, cards, full_xxl, how, trial
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.driver import run as driver
from orchestrator.driver.room import Room
from orchestrator.planning.devices import ASSUMED, Machine
from orchestrator.planning.fit import (
    CONTEXT_BYTES,
    GPU_PROCESS_BYTES,
    NCCL_BYTES,
    PROCESS_BYTES,
    USABLE,
    at_once,
    fit,
)
from orchestrator.planning.groups import counted
from orchestrator.planning.memory import memory
from orchestrator.planning.packing import Todo, packs
from orchestrator.planning.plan import plan
from orchestrator.planning.setups import Setups
from orchestrator.planning.spread import alike
from trials.backbones import get, loaded_parameters
from trials.errors import ApetError
from trials.modules.methods import apet
from trials.setup import Setup
from trials.sweep.resources import Resources
from trials.sweep.sweep import Sweep
from trials.trial import Trial

SIZES = {"lora": 6_291_456, "bitfit": 1_290_240}  # scalars on T5-XXL
AUTO = Resources()
ALONE = Resources(pack_size=1)


def test_whole_on_one_card_where_it_fits() -> None:
    one = fit([trial("t5-xxl")], [cards(8, 80)], ALONE)
    assert how(one) == (1, 0, False, None)
    assert (one.setup.device, one.setup.ranks, one.setup.threads) == ("cuda", 1, None)
    held = memory(trial("t5-xxl"), loaded_parameters(get("t5-xxl")), SIZES["lora"], 1, 2)
    assert one.needed == held.on_card() + CONTEXT_BYTES
    assert one.setup.memory == GPU_PROCESS_BYTES, "weights come through in small parts"
    assert (one.at_once, one.refusal, one.assumed) == (8, "", False)
    assert one.setup.reason == "one GPU holds all of it; the whole batch at a time; packs of 1 (asked for)"


def test_fewer_rows_at_a_time_before_more_cards() -> None:
    """Weights take 20.7 GiB: on a card of 40, some of 32 rows at a time; the numbers are the same."""
    one = fit([trial("t5-xxl")], [cards(8, 40)], AUTO)
    assert how(one)[:3] == (1, 0, False)
    rows = one.setup.micro_batch
    assert rows in (1, 2, 4, 8, 16)
    held = [memory(trial("t5-xxl"), loaded_parameters(get("t5-xxl")), SIZES["lora"], 1, 2, n) for n in (rows, 2 * rows)]
    for_tensors = 40 * GIB * USABLE - CONTEXT_BYTES
    assert held[0].on_card() <= for_tensors < held[1].on_card(), "the most that fit"
    assert "of a batch at a time" in one.setup.reason


def test_a_cpu_takes_one_thread_and_all_of_full_fine_tunings_copies() -> None:
    one = fit([trial("bert-base", "full", batch_size=4)], [Machine(32, 64 * GIB)], AUTO)
    loaded = loaded_parameters(get("bert-base"))
    assert (one.setup.device, one.setup.gpus, one.setup.threads, one.setup.micro_batch) == ("cpu", 0, 1, None)
    copies = 4 * 6 * loaded  # value, gradient, two moments, the best step's, and the one that it goes back to
    assert copies < one.setup.memory - PROCESS_BYTES < 1.5 * copies
    assert one.setup.memory == one.needed


def test_as_many_packs_at_a_time_as_there_are_cores_memory_and_cards_for() -> None:
    eight = Setup("cpu", threads=1, memory=8 * GIB)
    assert at_once(eight, [Machine(32, 64 * GIB)]) == 7, "nine tenths of 64 GiB"
    assert at_once(eight, [Machine(4, 64 * GIB)]) == 4
    assert at_once(replace(eight, threads=8), [Machine(32, 64 * GIB)]) == 4
    assert at_once(eight, [Machine(32, 64 * GIB, count=3), Machine(2, 16 * GIB)]) == 3 * 7 + 1
    assert at_once(eight, [Machine(32, 8 * GIB)]) == 0
    gang = Setup("cuda", gpus=2, ranks=2, memory=GIB)
    assert at_once(gang, [cards(8, 80), cards(1, 80)]) == 4
    assert at_once(gang, [cards(8, 80, memory_gib=5)]) == 2


def test_a_pack_fits_every_machine_that_may_get_it() -> None:
    """Ray knows cards by their number: a pack planned for one of 80 GiB could get one of 24."""
    one = fit([trial("t5-xxl")], [cards(1, 80), cards(1, 24)], AUTO)
    alone = fit([trial("t5-xxl")], [cards(1, 24)], AUTO)
    assert (one.setup.micro_batch, one.device_bytes) == (alone.setup.micro_batch, alone.device_bytes)
    small_and_cards = fit([trial("bert-base")], [Machine(4, 16 * GIB), cards(1, 24)], AUTO)
    assert (small_and_cards.setup.device, small_and_cards.at_once) == ("cuda", 1), "a head without a card gets nothing"


def test_wishes_are_kept_even_if_they_do_not_fit() -> None:
    wanted = Resources(gpus=1, zero_stage=0, offload=False, micro_batch=32)
    found = fit([full_xxl()], [cards(8, 80)], wanted)
    assert how(found) == (1, 0, False, 32)
    assert not found.fits
    assert "1 GPU with recompute, 32 rows at a time takes 249.9 GiB of each GPU" in found.refusal
    two = fit([trial("tiny-bert")], [cards(8, 80)], Resources(gpus=2))
    assert how(two)[:3] == (2, 0, False)
    assert two.setup.reason.startswith("resources.gpus is 2; ")
    packed = fit([trial("tiny-bert")], [Machine(2, 64 * GIB)], Resources(pack_size=7))
    assert packed.setup.pack_size == 7
    assert fit([trial("tiny-bert", "full")], [Machine(2, 64 * GIB)], Resources(pack_size=7)).setup.pack_size == 1


@pytest.mark.parametrize(
    "wanted",
    [
        Resources(offload=True, zero_stage=1),
        Resources(gpus=0, offload=True),
        Resources(gpus=2, ranks=3),
        Resources(ranks=33),
    ],
)
def test_wishes_that_exclude_each_other_are_refused(wanted: Resources) -> None:
    with pytest.raises(ApetError, match="give"):
        fit([trial("tiny-bert")], [cards(1, 80)], wanted)


def test_no_card_and_too_little_memory_show_an_assumed_machine() -> None:
    found = fit([trial("t5-xxl")], [Machine(2, 24 * GIB)], AUTO)
    assert (found.assumed, found.at_once, found.device_bytes) == (True, 0, ASSUMED.card_bytes)
    assert "a worker on the CPU takes" in found.refusal
    asked = fit([trial("tiny-bert")], [Machine(2, 24 * GIB)], Resources(gpus=1))
    assert asked.refusal.startswith("there is a machine, 2 CPUs, 24.0 GiB of memory, no GPU; resources.gpus is 1: auto")
    forced = fit([trial("t5-xxl")], [Machine(2, 24 * GIB)], Resources(gpus=0))
    assert (forced.setup.device, forced.fits, forced.assumed) == ("cpu", False, False)


def test_a_mixed_pack_holds_what_any_of_its_trials_may_need() -> None:
    """Packed together, every row is as long as the longest prompt makes it, and all corrections keep their inputs."""
    methods = ["bitfit", "lora", "adapter", "prompt", apet("bert", 10**5, {"concat": 1})]
    every = [trial("bert-base", method) for method in methods]
    wanted = Resources(pack_size=3)
    together = fit(every, [cards(1, 80)], wanted).needed
    assert all(fit([one], [cards(1, 80)], wanted).needed < together for one in every)


WISHES = st.builds(
    Resources,
    gpus=st.sampled_from(["auto", 0, 1, 2, 4]),
    ranks=st.sampled_from(["auto", 1, 2]),
    zero_stage=st.sampled_from(["auto", 0, 1, 2, 3]),
    offload=st.sampled_from(["auto", True, False]),
    recompute=st.sampled_from(["auto", True, False]),
    pack_size=st.sampled_from(["auto", 2]),
    micro_batch=st.sampled_from(["auto", 4]),
    checkpoint_s=st.sampled_from([30.0, 0.5]),
)
MACHINES = st.builds(
    lambda cpus, gib, gpus, card: Machine(cpus, gib * GIB, gpus, card * GIB if gpus else 0),
    st.sampled_from([1, 8, 64]),
    st.sampled_from([8, 64, 512]),
    st.sampled_from([0, 1, 4, 8]),
    st.sampled_from([16, 24, 40, 80]),
)
TRIALS = st.builds(
    trial, st.sampled_from(["bert-large", "bloom-3b", "t5-xl", "t5-xxl"]), st.sampled_from(["lora", "full", "prompt"])
)


@settings(max_examples=150, deadline=None)
@given(one=TRIALS, machines=st.lists(MACHINES, min_size=1, max_size=2), wanted=WISHES)
def test_what_is_said_to_fit_does(one: Trial, machines: list[Machine], wanted: Resources) -> None:
    try:
        found = fit([one], machines, wanted)
    except ApetError:
        assert list(wanted.conflicts(32))
        return
    setup = found.setup
    assert (found.at_once > 0) == (not found.lacking)
    if found.at_once:
        loaded = loaded_parameters(one.backbone)
        trained = counted(one.method, one.backbone, loaded)
        rows = min(setup.micro_batch or 32, -(-32 // setup.ranks))
        number = 2 if setup.gpus else 4
        held = memory(one, loaded, trained, setup.pack_size, number, rows, recompute=setup.recompute)
        ranks = setup.ranks // setup.machines  # of each
        able = [m for m in (machines if setup.machines == 1 else alike(machines)) if at_once(setup, [m])]
        assert able
        for machine in able:
            assert setup.memory * ranks <= machine.memory * USABLE
            assert machine.count >= setup.machines
            assert machine.cpus >= ranks * (setup.threads or 1)
            if setup.gpus:
                on_card = held.on_card(setup.gpus, setup.zero_stage, setup.offload) + CONTEXT_BYTES
                on_card += NCCL_BYTES if setup.gpus > 1 else 0
                assert on_card <= found.needed <= machine.card_bytes * USABLE
            else:
                in_process = PROCESS_BYTES + held.in_process(setup.ranks, setup.zero_stage)
                assert in_process <= found.needed <= machine.memory * USABLE / ranks
    assert setup.checkpoint_s == wanted.checkpoint_s
    for name in ("ranks", "recompute", "micro_batch"):
        assert getattr(wanted, name) in ("auto", getattr(setup, name))
    if setup.device == "cuda":
        assert wanted.gpus in ("auto", setup.gpus)
        full = one.method.name == "full"
        assert wanted.zero_stage in ("auto", setup.zero_stage) or (not full and setup.zero_stage == 0)
        assert wanted.offload in ("auto", setup.offload) or (not full and setup.zero_stage == 0)


@settings(max_examples=60, deadline=None)
@given(
    one=TRIALS, gpus=st.sampled_from([2, 4, 8]), gib=st.sampled_from([24, 40, 80]), rows=st.sampled_from(["auto", 8])
)
def test_fewer_cards_come_first(one: Trial, gpus: int, gib: int, rows: Any) -> None:
    wanted = Resources(micro_batch=rows)
    found = fit([one], [cards(gpus, gib)], wanted)
    fewer = [n for n in (1, 2, 4) if n < found.setup.gpus]
    if found.at_once and not found.setup.offload:
        for n in fewer:
            assert not fit([one], [cards(gpus, gib)], replace(wanted, gpus=n, offload=False)).at_once


SWEEP = """\
backbones: [bert-large, tiny-t5]
tasks: [rte, sst2]
methods: [full, {method: prompt, tokens: 20}, {method: lora, rank: 2}, {method: apet, counts: [10, 100]}]
learning_rates: [1.0e-3, 2.0e-3]
training: {steps: 4, batch_size: 32}
"""


@pytest.mark.parametrize("pack_size", [1, 3])
@pytest.mark.parametrize("machine", [Machine(32, 64 * GIB), cards(4, 24)])
def test_a_plan_and_a_run_have_one_set_up(machine: Machine, pack_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = Sweep.parse(f"{SWEEP}resources: {{pack_size: {pack_size}}}\n")
    monkeypatch.setattr(driver, "here", lambda: machine)
    todo = [Todo(one, sweep.sources(one)) for one in sweep.trials()]
    handed_out = packs(todo, driver._setups(todo, (machine,), sweep.resources).setup)
    driver.check(todo, sweep.resources)
    planned = plan(sweep, machines=[machine])
    groups = [(one.backbone, group) for one in planned.backbones for group in one.groups]
    assert {(name, group.setup) for name, group in groups} == {
        (pack.members[0].trial.backbone.name, pack.setup) for pack in handed_out
    }
    assert sum(group.trials for _, group in groups) == sum(len(pack.members) for pack in handed_out) == len(todo)
    assert any(len(pack.members) == pack_size for pack in handed_out)
    assert len({group.setup for _, group in groups}) > 1, "groups differ"


def test_trials_of_a_pack_may_differ_in_method() -> None:
    sweep = Sweep.parse(f"{SWEEP}resources: {{pack_size: 4}}\n")
    setups = Setups(sweep.trials(), [Machine(32, 64 * GIB)], sweep.resources)
    todo = [Todo(one, sweep.sources(one)) for one in sweep.trials()]
    mixed = [{todo.trial.method.name for todo in pack.members} for pack in packs(todo, setups.setup)]
    assert {"lora", "apet"} in mixed


def test_a_run_has_no_more_workers_than_memory_for_them() -> None:
    """What ``plan`` says runs at a time is what the driver lets run."""
    sweep, machine = Sweep.parse(SWEEP.replace("[full, ", "[")), Machine(32, 64 * GIB)
    fits = Setups(sweep.trials(), [machine], sweep.resources).fits.values()
    assert min(found.at_once for found in fits) < 32
    for found in fits:
        assert found.at_once == len(Room([machine]).at_once([found.setup] * 32))
        assert found.at_once == min(32, 64 * GIB * 9 // 10 // found.setup.memory)
