"""Pack sizes as a worker measures them: bounded, only where it pays, and without a trace in any result."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_for_tests import FAMILIES
from worker_for_tests import pack_of, rows_of

from trials.modules.depth import lowest_block
from trials.pack import Pack
from trials.setup import Setup
from trials.store.store import Store
from workers.backbone.full import fingerprint
from workers.engines import plain
from workers.pack import calibrate
from workers.pack.calibrate import LONGEST_S, REPEATS, SHARE, measure, pays, sizes, told
from workers.pack.progress import Progress
from workers.pack.stand_ins import Step
from workers.worker import Worker

MEASURING = Setup("cpu", threads=1, pack_size=2, measure_to=5)
MUCH = 1e9  # steps to come


class Bench:
    """Steps that take as long as they are said to, by the size of the pack; what they took together."""

    def __init__(self, trial_s: Callable[[int], float], holds: int = 99) -> None:
        self.trial_s, self.holds, self.sizes, self.spent_s = trial_s, holds, list[int](), 0.0

    def __call__(self, size: int) -> Step:
        if size > self.holds:
            raise MemoryError
        taken = self.trial_s(size) * size
        self.sizes.append(size)
        self.spent_s += taken
        return Step(taken, taken)


@given(most=st.integers(1, 70))
def test_sizes_double_up_to_the_most(most: int) -> None:
    found = sizes(most)
    assert found[0] == 1
    assert found[-1] == most
    assert all(a < b <= 2 * a for a, b in pairwise(found))


def test_sizes_take_turns_up_to_the_planned_one_and_larger_ones_follow_while_they_gain() -> None:
    bench = Bench(lambda size: {1: 1e-3, 2: 0.9e-3, 4: 0.8e-3, 8: 0.7e-3}.get(size, 0.69e-3))
    found = measure(bench, 4, 64, MUCH)
    assert found[4].cpu_s == pytest.approx(0.8e-3), "a trial's share of its pack's step"
    assert bench.sizes == [1, 1, *(1, 2, 4) * REPEATS, *[8] * REPEATS, *[16] * REPEATS]


def test_the_clock_that_is_trusted_decides() -> None:
    def step(size: int) -> Step:
        return Step(cpu_s=1e-3 * size, wall_s=1e-3)

    assert list(measure(step, 2, 8, MUCH, clock="cpu")) == [1, 2, 4]
    assert list(measure(step, 2, 8, MUCH, clock="wall")) == [1, 2, 4, 8]


def test_of_repeated_steps_the_fastest_counts() -> None:
    steps = iter([Step(0.9, 0.5), Step(0.1, 0.4), Step(0.2, 0.3), Step(0.3, 0.15), Step(0.4, 0.4)])
    assert measure(lambda size: next(steps), 1, 1, MUCH) == {1: Step(0.1, 0.15)}


def test_a_crowded_machine_says_nothing() -> None:
    for share, learnt in ((0.9, True), (0.6, True), (0.4, False)):

        def step(size: int, share: float = share) -> Step:
            return Step(1e-3 * size, 1e-3 * size / share)

        assert bool(measure(step, 2, 8, MUCH)) is learnt
        assert measure(step, 2, 8, MUCH, clock="wall"), "a card does its work by itself"


def test_memory_that_runs_out_ends_it_with_what_was_measured() -> None:
    for holds, found in ((0, []), (1, [1]), (3, [1, 2]), (5, [1, 2, 4])):
        bench = Bench(lambda size: 1e-3 / size, holds)
        assert list(measure(bench, 4, 64, MUCH)) == found
        assert not bench.sizes or max(bench.sizes) == found[-1]


def test_a_run_that_is_to_stop_is_not_kept_waiting() -> None:
    bench = Bench(lambda size: 1e-3 / size)
    assert measure(bench, 4, 64, MUCH, should_stop=lambda: len(bench.sizes) == 4) == {}
    assert len(bench.sizes) == 4


@given(
    planned=st.integers(1, 64),
    more=st.integers(0, 60),
    step_s=st.floats(1e-4, 5.0),
    to_come=st.integers(10, 10**6),
    gain=st.floats(0.5, 1.0),
)
def test_it_takes_a_share_of_what_is_to_come_and_no_more_than_some_seconds(
    planned: int, more: int, step_s: float, to_come: int, gain: float
) -> None:
    """Beyond the first size, which has to be seen once."""
    bench = Bench(lambda size: step_s * gain ** (size.bit_length() - 1))
    found = measure(bench, planned, planned + more, to_come)
    first = 2 * step_s
    assert bench.spent_s <= max(first, min(SHARE * to_come * step_s, LONGEST_S)) * 1.001
    assert not found or max(found) >= max(n for n in sizes(planned + more) if n <= planned)


def test_it_begins_only_where_the_steps_to_come_pay_for_it() -> None:
    four = Setup("cpu", pack_size=4)
    assert not pays(4 * 60, four), "a pack of the quickstart"
    assert pays(4 * 300, four)
    least = next(n for n in range(1, 10**5) if pays(n, four))
    assert measure(Bench(lambda size: 1e-3), 4, 8, least)
    assert measure(Bench(lambda size: 1e-3 * 0.9**size), 4, 8, least / 2) == {}


def test_the_first_word_of_a_pack_carries_what_was_learnt() -> None:
    words = [Progress("pack", 1), Progress("pack", 2)]
    assert [word.pack_size for word in told(8, iter(words))] == [8, None]
    assert [word.pack_size for word in told(None, iter(words))] == [None, None]
    halved = [Progress("pack", 1, pack_size=1), Progress("pack", 2)]
    assert [word.pack_size for word in told(8, iter(halved))] == [1, None], "memory has the last word"


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Any work pays for measuring, however busy the machine is, which hasn't measured yet."""
    for name, value in (("SHARE", 1e9), ("LONGEST_S", 1e9), ("OWN_SHARE", 0.0)):
        monkeypatch.setattr(calibrate, name, value)
    monkeypatch.setenv("APET_CACHE", str(tmp_path / "cache"))


def of(folder: Path, setup: Setup, *trials: Any) -> Pack:
    return replace(pack_of(folder, *trials), setup=setup)


def news(worker: Worker, pack: Pack) -> list[int | None]:
    return [progress.pack_size for progress in worker.run(pack)]


def results(store: Store) -> list[Any]:
    """What rows, curves and modules say, but for times and names."""
    own = ("attempt_id", "started_at", "finished_at", "pack_id", "peak_memory_bytes", "module_uri")
    rows = [
        {k: v for k, v in row.items() if k not in own and not k.endswith("_s")}
        | {"module": store.load_module(row["module_uri"])}
        for row in rows_of(store).values()
    ]
    curve = (
        store.curves()
        .drop_columns(["attempt_id", "seconds"])
        .sort_by([("trial_id", "ascending"), ("step", "ascending")])
    )
    return [rows, curve.to_pylist()]


@pytest.mark.parametrize("name", FAMILIES)
def test_measuring_leaves_no_trace_in_any_result(
    name: str, folder: Path, tmp_path: Path, trial: Any, cheap: None
) -> None:
    """Bit for bit: scores, curves and what was trained."""
    trials = [trial(name, count=300), trial(name, "lora", trial={"position_seed": None})]
    stores = {how: Store(tmp_path / how, create=True) for how in ("measured", "not")}
    worker = Worker(stores["measured"])
    words = news(worker, of(folder, MEASURING, *trials))
    assert news(Worker(stores["not"]), of(folder, replace(MEASURING, measure_to=0), *trials)) == [None] * len(words)
    assert results(stores["measured"]) == results(stores["not"])
    (file,) = (tmp_path / "measured" / "calibration").iterdir()
    assert (tmp_path / "cache" / "calibration" / file.name).exists()
    assert not (tmp_path / "not" / "calibration").exists()
    assert worker._warm is not None, "the backbone is as it was"
    assert fingerprint(worker._warm.backbone.model) == worker._warm.bits
    assert not any(module._forward_hooks for module in worker._warm.backbone.model.modules())


def test_a_worker_measures_once_and_others_read_it(
    folder: Path, tmp_path: Path, trial: Any, cheap: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    benches: list[Bench] = []

    def measured(step: Any, *args: Any, **kwargs: Any) -> Any:
        benches.append(Bench(lambda size: 1e-3 * 0.8**size))
        return measure(benches[-1], *args, **kwargs)

    monkeypatch.setattr(calibrate, "measure", measured)
    store = Store(tmp_path / "store", create=True)
    trials = [trial("tiny-bert", count=300 + n) for n in range(6)]
    worker = Worker(store)
    assert news(worker, of(folder, MEASURING, *trials[:2])) == [5, None]
    assert news(worker, of(folder, MEASURING, *trials[2:4])) == [None, None], "said once"
    assert benches[0].sizes[-1] == 5, "as many as there is memory for"
    monkeypatch.setenv("APET_CACHE", str(tmp_path / "elsewhere"))
    assert news(Worker(store), of(folder, replace(MEASURING, measure_to=4), trials[4])) == [4, None]
    assert len(benches) == 1
    assert news(Worker(store), of(folder, replace(MEASURING, pack_size=5), trials[5])) == [None, None], "no news"
    assert news(worker, of(folder, replace(MEASURING, measure_to=3), trials[0])) == [3, None], "another set-up"


def test_what_took_too_long_once_is_not_tried_again(
    folder: Path, tmp_path: Path, trial: Any, cheap: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []
    monkeypatch.setattr(calibrate, "measure", lambda *args, **kwargs: tries.append(1) or {})
    worker = Worker(Store(tmp_path / "store", create=True))
    for n in range(2):
        assert news(worker, of(folder, MEASURING, trial("tiny-bert", count=300 + n))) == [None, None]
    assert len(tries) == 1


def test_what_is_kept_of_other_packs_goes_before_sizes_are_measured(
    folder: Path, tmp_path: Path, trial: Any, cheap: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, worker = list[bool](), Worker(Store(tmp_path / "store", create=True))

    def measured(*args: Any, **kwargs: Any) -> dict[int, Any]:
        kept.append(worker._kept.clear())
        return {}

    monkeypatch.setattr(calibrate, "measure", measured)
    top = trial("tiny-bert", count=5, placement="adjacent", trial={"position_seed": 1})
    assert lowest_block(top) > 0
    news(worker, of(folder, replace(MEASURING, measure_to=0), top))
    assert worker._kept._states, "the blocks below"
    batch = replace(top, training=replace(top.training, batch_size=3))
    news(worker, of(folder, MEASURING, batch))
    assert kept == [False]


def test_nothing_is_measured_where_it_is_not_asked_for_or_does_not_pay(
    folder: Path, tmp_path: Path, trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(calibrate, "stand_ins", lambda *args: pytest.fail("it was measured"))
    store = Store(tmp_path / "store", create=True)
    worker = Worker(store)
    full = trial("tiny-bert", "full")
    assert news(worker, of(folder, MEASURING, trial("tiny-bert", count=300))) == [None, None], "four steps"
    monkeypatch.setattr(calibrate, "SHARE", 1e9)
    assert news(worker, of(folder, Setup("cpu", threads=1, pack_size=2), trial("tiny-bert", count=301))) == [None] * 2
    assert news(worker, of(folder, Setup("cpu", threads=1), full)) == [None, None]
    assert not (tmp_path / "store" / "calibration").exists()


def test_what_goes_wrong_while_measuring_harms_no_trial(
    folder: Path, tmp_path: Path, trial: Any, cheap: None, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """A trial that can't be placed fails alone, as ever; a step that fails here only says so."""
    good, bad = trial("tiny-bert", count=300), trial("tiny-bert", count=10**9)
    store = Store(tmp_path / "store", create=True)
    with caplog.at_level(logging.WARNING):
        news(Worker(store), of(folder, MEASURING, bad, good))
    assert {row["state"] for row in rows_of(store).values()} == {"failed", "completed"}
    assert "can't be measured" in caplog.text
    assert not (tmp_path / "store" / "calibration").exists()


def test_a_prompt_that_has_no_room_takes_no_step(
    folder: Path, tmp_path: Path, trial: Any, cheap: None, caplog: Any
) -> None:
    """On a GPU a position beyond the table ends the process's use of the card, and so all trials of the pack."""
    good, bad = trial("tiny-bert", count=300), trial("tiny-bert", "prompt", tokens=255)
    store = Store(tmp_path / "store", create=True)
    with caplog.at_level(logging.WARNING):
        news(Worker(store), of(folder, MEASURING, good, bad))
    assert "can't be measured: ApetError: 255 soft tokens before a text" in caplog.text
    assert rows_of(store)[good.trial_id]["state"] == "completed"


def test_stand_ins_take_the_steps_that_the_pack_will(
    folder: Path, tmp_path: Path, trial: Any, cheap: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts of a batch too, and heads that train; and the engine is closed afterwards."""
    seen: list[tuple[int, int]] = []
    closed: list[int] = []
    losses, close = plain.PlainEngine.losses, plain.PlainEngine.close

    def watched(self: Any, batch: Any) -> torch.Tensor:
        found = losses(self, batch)
        seen.append((len(found), len(batch["input_ids"])))
        return found

    monkeypatch.setattr(plain.PlainEngine, "losses", watched)
    monkeypatch.setattr(plain.PlainEngine, "close", lambda self: (closed.append(1), close(self))[1])
    one = trial("tiny-bert", count=300)
    one = replace(one, backbone=replace(one.backbone, head_scale=0.3), head="trained")
    news(Worker(Store(tmp_path / "store", create=True)), of(folder, replace(MEASURING, micro_batch=3), one))
    assert seen[:2] == [(1, 3), (1, 1)], "a batch of four in parts of three at most"
    assert (2, 3) in seen
    assert len(closed) == 2
