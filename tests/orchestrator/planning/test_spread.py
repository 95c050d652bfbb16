"""Gangs over several machines: where no single one holds them, over machines that are alike, and planned as slow."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fits_for_tests import GIB, cards, trial

from orchestrator.planning.candidates import on_cards, on_cpu, way
from orchestrator.planning.devices import Machine
from orchestrator.planning.fit import at_once, fit
from orchestrator.planning.speeds import NETWORK
from orchestrator.planning.spread import alike, part, ways
from orchestrator.planning.times import work
from trials.setup import Setup, beyond
from trials.sweep.resources import Resources

ONE = cards(1, 16, memory_gib=16)  # too small for T5-XXL, two of them aren't
ALONE = Resources(pack_size=1, offload=False)
XXL = trial("t5-xxl")


def nodes(n: int, like: Machine = ONE) -> list[Machine]:
    """Machines of a live cluster: each by its own name, and with a little more or less memory."""
    return [replace(like, name=f"node-{i}", memory=like.memory + i) for i in range(n)]


def test_a_gang_spans_machines_where_no_single_one_holds_it() -> None:
    for machines in (nodes(2), [replace(ONE, count=2)]):
        found = fit([XXL], machines, ALONE)
        setup = found.setup
        assert (setup.gpus, setup.ranks, setup.machines, setup.zero_stage) == (2, 2, 2, 3)
        assert (found.at_once, found.fits, found.refusal) == (1, True, "")
        assert "spread over 2 machines, for no single one holds it" in setup.reason
    assert fit([XXL], nodes(1), ALONE).lacking
    assert fit([XXL], [ONE, replace(ONE, card_bytes=14 * GIB)], ALONE).lacking, "they aren't alike"
    assert fit([XXL], nodes(5), ALONE).at_once == 2, "one of five has nothing to do"


def test_one_machine_comes_first_however_it_holds_the_gang() -> None:
    large = cards(2, 16, memory_gib=64)
    found = fit([XXL], [*nodes(4), large], ALONE)
    assert (found.setup.gpus, found.setup.machines) == (2, 1)
    offloaded = fit([XXL], nodes(4, cards(1, 16, memory_gib=64)), replace(ALONE, offload="auto")).setup
    assert (offloaded.gpus, offloaded.offload, offloaded.machines) == (1, True, 1)


def test_ranks_that_are_asked_for_span_machines_of_few_cores() -> None:
    wanted = Resources(ranks=2, zero_stage=3, pack_size=1)
    found = fit([trial("tiny-bert")], nodes(3, Machine(1, 8 * GIB)), wanted)
    assert (found.setup.ranks, found.setup.machines, found.at_once) == (2, 2, 1)
    assert fit([trial("tiny-bert")], nodes(3, Machine(2, 8 * GIB)), wanted).setup.machines == 1
    narrow = Resources(gpus=0, ranks=4, pack_size=1)
    found = fit([trial("bloom-3b")], nodes(4, Machine(8, 20 * GIB)), narrow)
    assert (found.setup.machines, found.setup.zero_stage) == (2, 3), "the fewest machines whose memory is enough"
    assert found.setup.memory * 2 <= 20 * GIB * 0.9


def test_ways_are_the_fewest_machines_first_of_those_that_are_alike() -> None:
    other = Machine(4, 8 * GIB)
    found = list(ways([*nodes(3), other]))
    assert [n for n, _ in found] == [1, 2, 3]
    assert found[0][1] == [*nodes(3), other]
    assert alike([*nodes(3), other]) == [replace(ONE, name="node-0", count=3), other]
    assert [n for n, _ in ways([replace(ONE, count=100)])] == list(range(1, 17))
    assert [n for n, _ in ways([])] == [1]


def test_candidates_have_as_many_ranks_on_each_machine() -> None:
    spread = list(on_cards(Resources(), 2, 32, full=False, machines=3))
    assert spread == [], "1, 2, 4 and 8 ranks aren't divided by 3"
    spread = list(on_cards(Resources(), 2, 32, full=False, machines=2))
    assert {(one.gpus, one.machines) for one in spread} == {(2, 2), (4, 2)}
    assert not list(on_cpu(Resources(), 32, full=False, machines=2)), "one rank, as ever"
    assert {one.machines for one in on_cpu(Resources(ranks=6), 32, full=False, machines=3)} == {3}
    assert part(Setup("cuda", 4, 4, 3, machines=2)) == Setup("cuda", 2, 2, 3)
    assert "3 ranks on 2 machines" in beyond(Setup("cpu", ranks=3, machines=2))
    assert way(Setup("cuda", gpus=4, ranks=4, zero_stage=3, machines=2)) == "4 GPUs on 2 machines at ZeRO stage 3"


def test_packs_at_a_time_are_counted_over_whole_machines() -> None:
    setup = Setup("cpu", ranks=4, threads=1, machines=2, memory=GIB)
    assert at_once(setup, [Machine(2, 64 * GIB, count=4)]) == 2
    assert at_once(setup, [Machine(4, 64 * GIB, count=3)]) == 3, "two parts on each, and a pack takes two of six"
    assert at_once(setup, [Machine(8, 64 * GIB)]) == 0, "a single one isn't several"


def test_weights_go_over_the_network() -> None:
    near, far = (Setup("cuda", 4, 4, 3, machines=n) for n in (1, 2))
    (fast, _), (slow, said) = (work([XXL], setup, {}, card="a100-80") for setup in (near, far))
    assert slow > 10 * fast
    assert f"{NETWORK:.1e} bytes/s" in said
    (there, _), (away, said) = (work([XXL], Setup("cpu", ranks=2, zero_stage=3, machines=n), {}) for n in (1, 2))
    assert away == pytest.approx(there), "a CPU's ranks exchange no faster on one machine"
