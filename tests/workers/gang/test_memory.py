"""Memory that runs out on one rank: all go on in the same smaller portions, or another gang does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from four_for_tests import FULL, four
from gangs import Run, gang_runs, ganged, ids, same, short_of_memory
from ranks import RanksFailed, on_ranks
from worker_for_tests import pack_of, rows_of

from trials.failures import OUT_OF_MEMORY
from trials.store.store import Store
from workers.gang.gang import Gang
from workers.pack.memory import OutOfMemoryError
from workers.pack.portions import FAILED, FINE, FREED, SHORT, Limits, Portions

FEW = {"steps": 6, "eval_every": 2}
FAULTS = {  # room for so many slices, and rows of each: in which passes
    "tiny-bert": ("training", (1, 1)),
    "tiny-t5": ("scoring", (1, 2)),
}


def test_halves_on_all_ranks_where_it_runs_out_on_one(folder: Path, tmp_path: Path, trial: Any) -> None:
    runs, checks = [], []
    for name, fault in FAULTS.items():
        pack = four(name, folder, trial, **FEW)
        whole, halves = (Store(tmp_path / f"{name}-{n}", create=True) for n in ("whole", "halves"))
        runs += [Run(whole, [pack]), Run(halves, [pack], fault=(1, *fault))]
        checks.append((pack, whole, halves, *fault[1]))
    gang_runs(2, *runs)
    for pack, whole, halves, slices, rows in checks:
        same(halves, whole, *pack.members)
        how = {(row["pack_size"], row["micro_batch"]) for row in rows_of(halves).values()}
        assert how == {(slices, rows if rows < 2 else None)}, "of the two rows that each rank has"


def test_a_row_that_does_not_fit_on_one_rank_fails_and_says_where(folder: Path, tmp_path: Path, trial: Any) -> None:
    some, store = [trial("tiny-bert", count=n) for n in (300, 301)], Store(tmp_path / "store", create=True)
    gang_runs(2, Run(store, [pack_of(folder, *some)], fault=(1, "training", (0, 0))))
    for row in rows_of(store).values():
        assert (row["state"], row["failure_class"]) == ("failed", OUT_OF_MEMORY)
        assert "rank 1: CUDA out of memory" in row["error_message"]
    assert len(rows_of(store)) == 2


def test_where_nobody_can_be_asked_the_gang_ends_and_the_next_one_goes_on_in_halves(
    folder: Path, tmp_path: Path, trial: Any
) -> None:
    """For what all trials hold, and for one that has no room even alone: the next gang knows it by name."""
    pack, said = four("tiny-bert", folder, trial, **FEW), tmp_path / "limits.json"
    one = pack_of(folder, pack.members[0].trial)
    whole, store, lost = (Store(tmp_path / n, create=True) for n in ("whole", "store", "lost"))

    def ended(which: Any, room: int) -> Any:
        with pytest.raises(RanksFailed):
            on_ranks(2, short_of_memory, store.uri, ganged(which, 2).to_json(), (1, "values", room), str(said))
        return json.loads(said.read_text())

    halves, alone = ended(pack, 2), ended(one, 0)
    assert (halves["trials"], halves["hopeless"], list(alone["hopeless"])) == (2, {}, ids(one))
    assert rows_of(store) == {}
    _, (together,), (rest,) = gang_runs(
        2,
        Run(whole, [pack]),
        Run(store, [pack], fault=(None, "values", 2), limits=halves),
        Run(lost, [pack], limits=alone),
    )
    assert [len(some) for _, some in together if some] == [2, 2]
    same(store, whole, *pack.members)
    assert rest[0] == (0, [(ids(one)[0], "failed")])
    row = rows_of(lost)[ids(one)[0]]
    assert (row["failure_class"], str(FULL) in row["error_message"]) == (OUT_OF_MEMORY, True)
    same(lost, whole, *pack.members[1:])


def test_with_shards_the_rank_raises_at_once_with_smaller_portions() -> None:
    """The others wait inside of a pass: asking them would wait for ever."""

    def too_large(slices: Any, rows: int) -> Any:
        raise FULL

    portions, left = Portions(4), []
    while True:
        with pytest.raises(OutOfMemoryError) as caught:
            portions.fit("abc", too_large, gang=None, sharded=True)  # type: ignore[arg-type]
        left.append((min(portions.slices, 3), portions.rows, caught.value.halved))
        if not caught.value.halved:
            break
    assert left == [(2, 4, True), (1, 4, True), (1, 2, True), (1, 1, True), (1, 1, False)]
    limits = Limits(portions, Portions(8), 3)
    assert Limits.of_plain({**json.loads(json.dumps(limits.plain())), "hopeless": {}}) == limits


class Others(Gang):
    """Other ranks, of which the worst of each try is known."""

    def __init__(self, *went: int) -> None:
        self.went = iter(went)

    def most(self, number: int) -> int:
        return max(number, next(self.went))

    def gather(self, value: Any) -> Any:
        return [value, "rank 1: no room"]


def test_what_another_rank_freed_is_tried_again_as_it_was_and_what_it_lacks_in_halves() -> None:
    tried, undone = [], []

    def work(slices: Any, rows: int) -> Any:
        tried.append((len(slices), rows))
        return slices

    portions, gang = Portions(4), Others(FREED, SHORT, SHORT, FREED, FINE)
    assert portions.fit("abcd", work, undo=lambda: undone.append(1), gang=gang) == ["a", "b", "c", "d"]
    assert tried == [(4, 4)] * 2 + [(2, 4)] * 2 + [(1, 4)] * 8
    assert len(undone) == 4
    with pytest.raises(OutOfMemoryError, match="rank 1: no room") as caught:
        portions.fit("a", work, gang=Others(FAILED))
    assert caught.value.of_all
