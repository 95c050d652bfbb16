"""Visible rows and the selected learning rate, against their definitions."""

from __future__ import annotations

import random
import time

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
from hypothesis import given, settings
from hypothesis import strategies as st
from rows_for_tests import attempts, row, trial

from trials.store import views
from trials.store.record import Record
from trials.store.store import Store
from trials.store.transfers import transfers

STATES = ("completed", "diverged", "failed")
ATTEMPTS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(STATES), st.integers(0, 3), st.integers(0, 10)), max_size=12
)


def rows_of(drawn: list[tuple[int, str, int, int]]) -> list[Record]:
    return [row(trial(seed=s), state, score / 10, attempt=attempt) for s, state, attempt, score in drawn]


def expected(rows: list[Record]) -> dict[str, str]:
    """The definition, word by word: trial → attempt_id of its visible row."""
    best: dict[str, Record] = {}
    for new in rows:
        old = best.setdefault(new["trial_id"], new)
        order = [(STATES.index(r["state"]), -r["attempt"], r["attempt_id"]) for r in (new, old)]
        if order[0] < order[1]:
            best[new["trial_id"]] = new
    return {trial_id: r["attempt_id"] for trial_id, r in best.items()}


def seen(store: Store) -> dict[str, str]:
    rows = store.trials()
    assert len(rows) == len(set(rows["trial_id"].to_pylist())), "a trial is seen twice"
    return dict(zip(rows["trial_id"].to_pylist(), rows["attempt_id"].to_pylist(), strict=True))


def in_memory(rows: list[Record]) -> Store:
    store = Store("store", create=True, filesystem=pafs._MockFileSystem())
    for made in rows:
        store.append(made)
    return store


@given(ATTEMPTS, st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_one_visible_row_per_trial_in_any_order(drawn: list[tuple[int, str, int, int]], order: random.Random) -> None:
    rows = rows_of(drawn)
    shuffled = order.sample(rows, len(rows))
    table = views.visible(attempts(*shuffled))  # a store lists files by name, a merged one need not be in that order
    assert dict(zip(*(table[n].to_pylist() for n in ("trial_id", "attempt_id")), strict=True)) == expected(rows)
    store = in_memory(shuffled)
    assert seen(store) == expected(rows)
    states = {r["attempt_id"]: r["state"] for r in rows}
    assert store.visible() == {
        trial_id: (states[attempt_id], sum(r["trial_id"] == trial_id for r in rows))
        for trial_id, attempt_id in expected(rows).items()
    }


@given(ATTEMPTS, ATTEMPTS)
@settings(max_examples=25, deadline=None)
def test_stores_copied_into_one_are_their_union(
    one: list[tuple[int, str, int, int]], two: list[tuple[int, str, int, int]]
) -> None:
    first, second = rows_of(one), rows_of(two)
    store, other = in_memory(first), in_memory(second)
    for entry in other._files.listing():
        store._files.write(entry.path, other._files.read(entry.path))
    assert seen(store) == expected(first + second)
    assert len(store.attempts()) == len(first) + len(second)


def trials(*rows: Record) -> pa.Table:
    return views.with_groups(views.visible(attempts(*rows)))


def chosen(*rows: Record) -> list[tuple[float, int]]:
    table = views.selected(trials(*rows))
    return sorted(zip(table["learning_rate"].to_pylist(), table["position_seed"].to_pylist(), strict=True))


def test_groups_are_the_trials_own() -> None:
    made = [trial(count, seed=seed, rate=rate) for count in (1, 2) for seed in (0, 1) for rate in (1e-3, 1e-2)]
    table = trials(*(row(t) for t in made))
    by_id = {t.trial_id: t for t in made}
    for trial_id, cell, curve in zip(*(table[n].to_pylist() for n in ("trial_id", "cell_id", "curve_id")), strict=True):
        assert (cell, curve) == (by_id[trial_id].cell_id, by_id[trial_id].curve_id)
    assert len(set(table["cell_id"].to_pylist())) == 2
    assert len(set(table["curve_id"].to_pylist())) == 1


def test_the_best_mean_on_validation_is_selected_for_all_seeds() -> None:
    low = [row(trial(seed=s, rate=1e-3), score=x, test_score=0.99) for s, x in enumerate((0.9, 0.3))]
    high = [row(trial(seed=s, rate=1e-2), score=x, test_score=0.01) for s, x in enumerate((0.7, 0.7))]
    assert chosen(*low, *high) == [(1e-2, 0), (1e-2, 1)]


def test_a_rate_with_a_score_for_more_seeds_comes_first() -> None:
    low = [row(trial(seed=0, rate=1e-3), score=0.9), row(trial(seed=1, rate=1e-3), "diverged", score=None)]
    high = [row(trial(seed=s, rate=1e-2), score=0.6) for s in (0, 1)]
    assert chosen(*low, *high) == [(1e-2, 0), (1e-2, 1)]
    assert chosen(*low, *high[:1]) == [(1e-3, 0), (1e-3, 1)], "as many scores: the mean decides; diverged rows stay"


def test_ties_take_the_smaller_rate() -> None:
    assert chosen(*(row(trial(rate=rate), score=0.5) for rate in (1e-2, 1e-4, 1e-3))) == [(1e-4, 0)]
    assert chosen(*(row(trial(rate=rate), "diverged", None) for rate in (1e-2, 1e-3))) == [(1e-3, 0)]


def test_failed_rows_are_no_results() -> None:
    failed = row(trial(rate=1e-3), "failed", score=0.9)
    assert chosen(failed) == []
    assert chosen(failed, row(trial(rate=1e-2), score=0.1)) == [(1e-2, 0)]


def test_cells_are_chosen_alone() -> None:
    rows = [
        row(trial(count, rate=rate), score=score)
        for count, rate, score in ((1, 1e-3, 0.9), (1, 1e-2, 0.1), (2, 1e-3, 0.1), (2, 1e-2, 0.9))
    ]
    table = views.selected(trials(*rows))
    assert sorted(zip(*(table[n].to_pylist() for n in ("count_requested", "learning_rate")), strict=True)) == [
        (1, 1e-3),
        (2, 1e-2),
    ]


def test_once_keeps_one_file_per_attempt() -> None:
    table = pa.table({"attempt_id": ["a", "a", "b", "a", "b"], "step": [1, 2, 1, 1, 1]})
    kept = views.once(table, np.array([0, 0, 1, 1, 2]))
    assert kept.to_pydict() == {"attempt_id": ["a", "a", "b"], "step": [1, 2, 1]}


def test_views_of_ten_thousand_rows_are_quick() -> None:
    rows = [
        row(trial(count, seed=seed, rate=rate, targets=("rte",)), score=0.5, transfer={"rte": 0.1})
        for count in range(1, 501)
        for seed in range(5)
        for rate in (1e-4, 1e-3, 1e-2, 1e-1)
    ]
    table = attempts(*rows)
    begun = time.process_time()
    visible = views.with_groups(views.visible(table))
    selected = views.selected(visible)
    found = transfers(visible, selected)
    assert time.process_time() - begun < 5, "0.8 s on a quiet core"
    assert (len(visible), len(selected), len(found)) == (10_000, 2_500, 10_000)
