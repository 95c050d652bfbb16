"""How many trials train together: never beyond memory, and what is measured before what is usual."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shell import apet, small

from orchestrator.driver import run as driver
from orchestrator.planning import devices
from orchestrator.planning.capacity import USABLE, at_once
from orchestrator.planning.devices import Machine, machine_with
from orchestrator.planning.fit import Fit, fit
from orchestrator.planning.packing import Todo
from orchestrator.planning.plan import plan
from orchestrator.planning.setups import Setups
from orchestrator.planning.sizes import MOST, USUAL, Known, largest
from trials.backbones import get
from trials.modules.methods import apet as placed
from trials.modules.methods import named
from trials.setup import Setup
from trials.store.calibration import Calibration, Calibrations, Conditions
from trials.store.store import Store
from trials.sweep.resources import Resources
from trials.sweep.sweep import Sweep
from trials.trial import Method, Source, TaskRef, Training, Trial

GIB = 2**30
AUTO = Resources()
ROOMY = Machine(2, 64 * GIB, processor="A CPU")
CPU = Setup("cpu", threads=1)


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("APET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(devices, "_cards", lambda visible: ())


def trial(backbone: str = "tiny-bert", method: Method | str = "lora", **training: Any) -> Trial:
    task = TaskRef("sst2", Source("hub", "nyu-mll/glue", "main"))
    how = named(method) if isinstance(method, str) else method
    return Trial(get(backbone), task, how, 1e-3, Training(**{"steps": 10, "batch_size": 32, **training}))


def cards(gpus: int, gib: float) -> Machine:
    return Machine(8 * gpus, 1024 * GIB, gpus, int(gib * GIB))


def size(found: Fit) -> tuple[int, int, str]:
    return found.setup.pack_size, found.setup.measure_to, found.pack_source


def measured(best: int, one: Trial, machine: Machine = ROOMY, setup: Setup = CPU) -> Calibration:
    """By which packs of ``best`` are the fastest."""
    conditions = Conditions.of(one, setup, "bf16" if setup.gpus else "fp32", machine.processor)
    seconds = {n: 1.0 + abs(n - best) for n in (1, 2, 4, 8) if n != best} | {best: 1.0}
    return Calibration(conditions, seconds, seconds, "cpu")


def known(*calibrations: Calibration, store: Store | None = None) -> Calibrations:
    found = Calibrations() if store is None else store.calibrations()
    for one in calibrations:
        found.keep(one)
    return found


def sized(one: Trial, machine: Machine = ROOMY, wanted: Resources = AUTO, *calibrations: Calibration) -> Fit:
    return fit([one], [machine], wanted, Known(known(*calibrations), [machine]))


def test_on_a_cpu_a_few_and_a_worker_may_measure_up_to_what_memory_holds() -> None:
    found = sized(trial())
    assert size(found) == (USUAL["cpu"], MOST["cpu"], "model")
    assert found.setup.reason == "no GPU; the whole batch at a time; packs of 4 (not measured)"
    assert found.setup.memory == fit([trial()], [ROOMY], Resources(pack_size=MOST["cpu"])).setup.memory


def test_on_a_gpu_as_many_as_fill_it() -> None:
    small_one = sized(trial("bert-small"), cards(1, 80))
    assert size(small_one) == (MOST["cuda"], MOST["cuda"], "model")
    large = sized(trial("bert-large"), cards(1, 24))
    most = large.setup.pack_size
    assert 1 < most < MOST["cuda"]
    fuller = [
        fit([trial("bert-large")], [cards(1, 24)], Resources(pack_size=n, micro_batch=32, recompute=False))
        for n in (most, most + 1)
    ]
    assert [bool(one.at_once) for one in fuller] == [True, False]


def test_the_pack_is_lowered_before_rows_are_cut_and_rows_before_cards_are_added() -> None:
    """T5-XXL's weights take 20.7 GiB; a batch of 32 goes whole through a card of 80, in parts through one of 40."""
    found = {gib: sized(trial("t5-xxl", max_input_length=256), cards(8, gib)).setup for gib in (140, 80, 40)}
    assert [(s.gpus, s.pack_size > 1, s.micro_batch) for s in found.values()][:2] == [(1, True, None), (1, False, None)]
    assert (found[40].gpus, found[40].pack_size) == (1, 1)
    assert found[40].micro_batch in (4, 8, 16)


def test_packs_never_cost_a_worker_beside_them() -> None:
    """32 cores: where memory is what limits the workers at a time, packs are of one."""
    for gib in (2, 6, 20, 64, 200, 1000):
        machine = Machine(32, gib * GIB)
        found, alone = (fit([trial("bert-base")], [machine], wanted) for wanted in (AUTO, Resources(pack_size=1)))
        assert found.at_once == alone.at_once
        assert found.setup.micro_batch == alone.setup.micro_batch


def test_what_is_asked_for_wins_and_is_not_measured() -> None:
    one = trial()
    for wish in (1, 3, 100):
        assert size(sized(one, ROOMY, Resources(pack_size=wish), measured(8, one))) == (wish, 0, "resources")
    assert size(sized(trial(method="full"), ROOMY, Resources(pack_size=3))) == (1, 0, "full")


def test_the_store_comes_before_the_cache_and_the_cache_before_the_model(tmp_path: Path) -> None:
    one, store = trial(), Store(tmp_path / "store", create=True)

    def found() -> tuple[int, int, str]:
        return size(fit([one], [ROOMY], AUTO, Known(store.calibrations(), [ROOMY])))

    assert found() == (4, 8, "model")
    known(measured(2, one))
    assert found() == (2, 0, "cache")
    known(measured(8, one), store=store)
    known(measured(2, one))
    assert found() == (8, 0, "store"), "whatever the cache says"


def test_what_was_measured_is_taken_as_far_as_memory_holds_it() -> None:
    one = trial("bert-base")
    for machine in (Machine(4, gib * GIB, processor="A CPU") for gib in (8, 16, 24, 64)):
        most = fit([one], [machine], AUTO).setup.measure_to or 1
        for best in (1, 2, 8):
            assert sized(one, machine, AUTO, measured(best, one, machine)).setup.pack_size == min(best, most)


def test_of_machines_that_differ_the_smallest_size_counts_and_of_unknown_ones_any() -> None:
    one, other = trial(), replace(ROOMY, processor="Another")
    calibrations = known(measured(8, one), measured(2, one, other))
    for machines, best in (([ROOMY], 8), ([other], 2), ([ROOMY, other], 2), ([replace(ROOMY, processor="")], 2)):
        assert Setups([one], machines, AUTO, calibrations).setup(one).pack_size == best
    assert Setups([one], [replace(ROOMY, processor="A third")], AUTO, calibrations).fit(one).pack_source == "model"


@given(limit=st.integers(1, 80), most=st.integers(1, 80))
def test_the_largest_that_holds(limit: int, most: int) -> None:
    assert largest(lambda n: n <= limit, most) == min(limit, most)


BACKBONES = st.sampled_from(["bert-small", "bert-large", "bloom-560m", "bloom-3b", "t5-base", "t5-xl"])
METHODS = st.sampled_from(["lora", "bitfit", "prompt", "adapter"])


@settings(max_examples=80, deadline=None)
@given(backbone=BACKBONES, method=METHODS, gib=st.sampled_from([4, 8, 16, 24, 40, 80]), gpu=st.booleans())
def test_never_beyond_memory_and_more_of_it_never_makes_packs_smaller(
    backbone: str, method: str, gib: int, gpu: bool
) -> None:
    one = trial(backbone, method)
    machines = [cards(1, n) if gpu else Machine(1, n * GIB) for n in (gib, 2 * gib)]
    less, more = (fit([one], [machine], replace(AUTO, gpus="auto" if gpu else 0)) for machine in machines)
    for found, machine in ((less, machines[0]), (more, machines[1])):
        if not found.lacking:
            assert found.needed <= (machine.card_bytes if gpu else machine.memory) * USABLE
            assert at_once(found.setup, [machine]) == found.at_once >= 1
            assert found.setup.pack_size == 1 or found.setup.micro_batch is None
    if not less.lacking and not less.setup.recompute and not less.setup.zero_stage:
        assert less.setup.pack_size <= more.setup.pack_size
        assert less.setup.measure_to <= more.setup.measure_to


def setups(machine: Machine, *methods: Method | str, backbone: str = "bert-base") -> Setups:
    return Setups([trial(backbone, method) for method in methods], [machine], AUTO)


def test_methods_share_packs_and_full_is_alone() -> None:
    found = setups(ROOMY, "full", "lora", "adapter", placed("bert", 100, {"concat": 1}))
    assert sorted((len(some), found.fits[group].setup.pack_size) for group, some in found.groups.items()) == [
        (1, 1),
        (3, USUAL["cpu"]),
    ]


def test_prompts_do_not_make_the_packs_of_others_smaller() -> None:
    """They share none: rows with soft tokens are longer."""
    prompt, lora = Method("prompt", tokens=100), named("lora")
    together = setups(cards(1, 80), prompt, lora)
    for method in (prompt, lora):
        alone = setups(cards(1, 80), method)
        one = trial("bert-base", method)
        assert together.setup(one).pack_size == alone.setup(one).pack_size
    assert {len(group.methods) for group in together.groups} == {1}


def test_one_that_is_much_larger_leaves_the_others_their_packs() -> None:
    """60 million scalars take 1.3 GB a trial: a card of 16 would hold not even half as many of the others."""
    huge = placed("bert", 60_000_000, {"concat": 1})
    usual = [placed("bert", n, {"concat": 1}) for n in (16, 1000, 16_000)]
    card = cards(1, 16)
    apart, without = setups(card, *usual, huge), setups(card, *usual)
    for method in usual:
        assert apart.setup(trial("bert-base", method)) == without.setup(trial("bert-base", method))
    assert len(without.groups) == 1
    assert len(apart.groups) == 2
    assert apart.setup(trial("bert-base", huge)) == setups(card, huge).setup(trial("bert-base", huge))


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.sampled_from([16, 1000, 10**5, 10**6, 10**7, 3 * 10**7]), min_size=1, max_size=4, unique=True),
    others=st.lists(METHODS, max_size=3, unique=True),
    machine=st.sampled_from([ROOMY, Machine(32, 64 * GIB), cards(1, 16), cards(2, 40), cards(1, 2)]),
    backbone=st.sampled_from(["bert-base", "bert-large"]),
)
def test_nobody_is_worse_off_for_whom_it_shares_with(
    counts: list[int], others: list[str], machine: Machine, backbone: str
) -> None:
    """Every trial is in one group; packs are at least half as large as alone, and rows and cards as alone."""
    every = [trial(backbone, method) for method in (*others, *(placed("bert", n, {"concat": 1}) for n in counts))]
    found = Setups(every, [machine], AUTO)
    assert Counter(one for some in found.groups.values() for one in some) == Counter(every)
    for one in every:
        shared, alone = found.fit(one), fit([one], [machine], AUTO)
        assert 2 * shared.setup.pack_size >= alone.setup.pack_size
        if shared.setup.pack_size > 1:
            assert (shared.setup.gpus, shared.setup.micro_batch) == (alone.setup.gpus, alone.setup.micro_batch)


def test_a_plan_says_what_packs_hold_and_where_that_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = small(tmp_path)
    sweep = Sweep.load(str(text))
    here = replace(ROOMY, name="here")
    monkeypatch.setattr(devices, "here", lambda: here)
    store = Store(tmp_path / "store", create=True)
    (one,) = [t for t in sweep.trials() if (t.backbone.name, t.method.name) == ("tiny-bert", "lora")]
    known(measured(2, one, here), store=store)
    (tmp_path / "cache" / "calibration").rename(tmp_path / "away")
    said = apet("plan", text, "--store", store.uri).stdout
    lines = {line.split()[0]: line for line in said.splitlines() if "measured)" in line or "measured, " in line}
    assert "2 (measured, store)" in lines["tiny-bert"]
    assert "4 (not measured)" in lines["tiny-t5"]
    groups = json.loads(apet("plan", text, "--store", store.uri, "--json").stdout)["backbones"][0]["groups"]
    assert {(g["methods"].split()[0], g["setup"]["pack_size"], g["pack_size_source"]) for g in groups} == {
        ("full", 1, "full"),
        ("lora", 2, "store"),
    }
    asked = apet("plan", text, "--set", "resources.pack_size=3").stdout
    assert "3 (asked for)" in asked


def test_a_run_takes_what_was_measured_and_the_plan_says_the_same(tmp_path: Path) -> None:
    sweep, store = Sweep.load(str(small(tmp_path))), Store(tmp_path / "store", create=True)
    known(*(measured(2, one) for one in sweep.trials()), store=store)
    todo = [Todo(one, sweep.sources(one)) for one in sweep.trials()]
    run = driver._setups(todo, [ROOMY], sweep.resources, store)
    groups = [group for one in plan(sweep, store, [ROOMY]).backbones for group in one.groups]
    assert {group.setup for group in groups} == {run.setup(one) for one in sweep.trials()}
    assert {(group.setup.pack_size, group.pack_size_source) for group in groups} == {(1, "full"), (2, "store")}


def test_a_trial_that_is_shown_as_a_pack_is_alone(tmp_path: Path) -> None:
    sweep = small(tmp_path)
    trial_id = Sweep.load(str(sweep)).trials()[1].trial_id
    setup = json.loads(apet("show", trial_id, "--sweep", sweep, "--pack").stdout)["setup"]
    assert (setup["pack_size"], setup["measure_to"]) == (1, 0)


def test_a_plan_for_cards_fills_them() -> None:
    text = "backbones: [bert-small]\ntasks: [sst2]\nmethods: [lora, adapter]\nlearning_rates: [0.1]\n"
    made = plan(Sweep.parse(text + "training: {steps: 5}\n"), machines=[machine_with("a100-40", 4)])
    (group,) = made.backbones[0].groups
    assert (group.setup.pack_size, group.setup.gpus, group.at_once) == (64, 1, 4)
