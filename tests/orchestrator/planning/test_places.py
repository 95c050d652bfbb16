"""Which type of node a pack goes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from fits_for_tests import trial
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.commands import planned
from orchestrator.planning.capacity import at_once, room_for
from orchestrator.planning.devices import CARDS, Machine, machine_with
from orchestrator.planning.fit import fit
from orchestrator.planning.places import node_types, place
from orchestrator.planning.plan import plan
from orchestrator.planning.setups import Setups
from orchestrator.planning.times import work
from orchestrator.text import dollars as money
from trials.sweep.resources import Resources
from trials.sweep.sweep import Sweep
from trials.trial import Trial

BACKBONES = ("tiny-bert", "bert-base", "t5-large", "t5-xl", "bloom-7b1", "t5-xxl")
AUTO = Resources()


def node(name: str, card: str, gpus: int, price: float, count: int = 1) -> Machine:
    return replace(machine_with(card, gpus), name=name, node_type=name, price=price, count=count)


SMALL, LARGE = node("small", "a10g-24", 1, 0.5, 4), node("large", "a100-80", 8, 12.0, 2)

priced = st.floats(0.1, 40).map(lambda price: round(price, 2))
machines = st.lists(
    st.tuples(st.sampled_from(list(CARDS)), st.sampled_from([1, 2, 4, 8]), priced, st.integers(1, 3)),
    min_size=1,
    max_size=4,
).map(lambda some: [node(f"type-{i}", *one) for i, one in enumerate(some)])
trials = st.tuples(st.sampled_from(BACKBONES), st.sampled_from(["lora", "bitfit", "full"])).map(lambda t: trial(*t))


def dollars(one: Trial, machine: Machine) -> float | None:
    """What a trial costs on a machine; None where it doesn't hold it."""
    found = fit([one], [machine], AUTO)
    if found.lacking:
        return None
    seconds, _ = work([one], found.setup, {}, None, machine.card)
    return machine.price * found.setup.machines * seconds / room_for(found.setup, machine)


@settings(max_examples=40, deadline=None)
@given(trials, machines)
def test_a_pack_goes_where_it_fits_and_no_other_type_that_holds_it_is_cheaper(one: Trial, there: list[Machine]) -> None:
    found = place([one], there, AUTO)
    costs = {machine.node_type: dollars(one, machine) for machine in there}
    able = {name: cost for name, cost in costs.items() if cost is not None}
    if not able:
        assert found.lacking
        assert not found.setup.node_type
        return
    assert not found.lacking
    assert able[found.setup.node_type] == min(able.values())
    (chosen,) = (machine for machine in there if machine.node_type == found.setup.node_type)
    assert found.at_once == at_once(found.setup, there) == at_once(found.setup, [chosen])
    assert found.price == pytest.approx(chosen.price * found.setup.machines / room_for(found.setup, chosen))
    assert f"on {chosen.node_type}" in found.setup.reason


@settings(max_examples=20, deadline=None)
@given(trials, machines, st.integers(0, 3))
def test_without_a_type_on_every_machine_packs_go_wherever_there_is_room(
    one: Trial, there: list[Machine], which: int
) -> None:
    there[which % len(there)] = replace(there[which % len(there)], node_type="")
    assert node_types(there) == {}
    assert place([one], there, AUTO) == fit([one], there, AUTO)


@settings(max_examples=20, deadline=None)
@given(trials, machines, st.integers(0, 3))
def test_without_a_price_the_smallest_machine_that_holds_a_pack_is_taken(
    one: Trial, there: list[Machine], which: int
) -> None:
    there[which % len(there)] = replace(there[which % len(there)], price=0.0)
    able = [machine for machine in there if not fit([one], [machine], AUTO).lacking]
    found = place([one], there, AUTO)
    if able and machine_price(able) == 0:
        (chosen,) = (machine for machine in there if machine.node_type == found.setup.node_type)
        fits = {machine: fit([one], [machine], AUTO).setup for machine in able}
        whole = [machine for machine, setup in fits.items() if not setup.offload and setup.machines == 1]
        assert chosen.gpus * chosen.card_bytes == min(one.gpus * one.card_bytes for one in whole or able)


def machine_price(some: Sequence[Machine]) -> float:
    return min(machine.price for machine in some)


def test_small_backbones_leave_the_large_cards_alone_while_large_ones_need_them() -> None:
    """An eighth of the large machine does more for a dollar."""
    small, large = trial("bert-base"), trial("t5-xxl")
    both, alone = Setups([small, large], [SMALL, LARGE], AUTO), Setups([small], [SMALL, LARGE], AUTO)
    assert [both.setup(one).node_type for one in (small, large)] == ["small", "large"]
    assert "large is for what fits nowhere else" in both.setup(small).reason
    assert alone.setup(small).node_type == "large"


def test_a_price_changes_the_type() -> None:
    found = [place([trial("bert-base")], [SMALL, replace(LARGE, price=price)], AUTO) for price in (4.0, 40.0)]
    assert [one.setup.node_type for one in found] == ["large", "small"]


def test_cards_come_before_processors_whatever_they_cost() -> None:
    cpus = Machine(64, 2**38, name="cpus", node_type="cpus", price=0.01)
    assert place([trial("tiny-bert")], [cpus, SMALL], AUTO).setup.node_type == "small"
    assert place([trial("tiny-bert")], [cpus, SMALL], Resources(gpus=0)).setup.node_type == "cpus"


def test_elsewhere_is_the_cheapest_of_the_others() -> None:
    small, large = trial("bert-base"), trial("t5-xxl", "full")
    middle = node("middle", "l4-24", 1, 0.8)
    setups = Setups([small, large], [SMALL, middle, LARGE], AUTO)
    assert setups.setup(small).node_type == "middle", "121 against 70 TFLOP/s"
    moved = [setups.elsewhere(small, {"middle"}), setups.elsewhere(small, {"small", "middle"})]
    assert [one and one.node_type for one in moved] == ["small", "large"]
    assert setups.elsewhere(large, {"large"}) is None, "no other holds it"


def test_a_plan_says_where_and_at_what_price() -> None:
    text = """
backbones: [tiny-bert, t5-xxl]
tasks: [rte]
methods: [lora]
learning_rates: [0.001]
training: {steps: 100}
"""
    made = plan(Sweep.parse(text), machines=[SMALL, LARGE])
    shown, plain = planned.text(made), made.to_dict()
    assert {one["backbone"]: one["node_types"] for one in plain["backbones"]} == {
        "tiny-bert": ("small",),
        "t5-xxl": ("large",),
    }
    for one, backbone in zip(plain["backbones"], made.backbones, strict=True):
        (group,) = backbone.groups
        assert one["dollars"] == pytest.approx(group.price * group.work_s / 3600)
        assert one["groups"][0]["price"] == group.price > 0
        (line,) = (line for line in shown.splitlines() if line.startswith(backbone.backbone) and "hours" in line)
        assert line.split()[-2:] == [group.setup.node_type, money(backbone.dollars)]
    bill = sum(one.dollars for one in made.backbones)
    assert f"about {money(bill)} without idle machines" in shown
    plain_machines = [replace(one, node_type="", price=0.0) for one in (SMALL, LARGE)]
    assert "node type" not in (without := planned.text(plan(Sweep.parse(text), machines=plain_machines)))
    assert "$" not in without
