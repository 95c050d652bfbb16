"""Where a store stands, with and without a sweep."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from study_rows import apet, row, trial

from orchestrator.results.status import Counts, status
from trials.errors import ApetError
from trials.store.store import Store

TRIALS = tuple(trial(apet(count), backbone=b) for b in ("quickstart-l6", "quickstart-l3") for count in (1, 2, 3, 4))


def sweep() -> SimpleNamespace:
    return SimpleNamespace(trials=lambda: TRIALS)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path, create=True)
    made.append(row(TRIALS[0], 0.5))
    made.append(row(TRIALS[0], None, state="failed", attempt=1))  # a completed attempt stays what is seen
    made.append(row(TRIALS[1], None, state="failed", failure_class="bad_input"))
    made.append(row(TRIALS[2], 0.5, state="diverged"))
    made.append(row(TRIALS[4], None, state="failed"))
    made.append(row(trial(apet(99), task="imdb"), 0.5))  # of another sweep
    for i, trials in enumerate(([TRIALS[0], TRIALS[3]], [TRIALS[4]])):
        where = {"backbone": trials[0].backbone.name, "task": trials[0].task.name}
        made.beat("run", f"worker{i}", {"trials": [one.trial_id for one in trials], **where})
    return made


def test_of_a_sweep(store: Store) -> None:
    found = status(store, sweep())
    assert list(found.groups.items()) == [
        (("quickstart-l6", "rotten_tomatoes"), Counts(1, 1, 1, 1, 0, {"bad_input": 1})),
        (("quickstart-l3", "rotten_tomatoes"), Counts(running=1, missing=3)),
    ]
    assert found.total == Counts(1, 1, 1, 2, 3, {"bad_input": 1})
    assert found.total.trials == len(TRIALS)


def test_of_a_store(store: Store) -> None:
    found = status(store)
    assert {group: (c.done, c.failed, c.diverged, c.running, c.missing) for group, c in found.groups.items()} == {
        ("quickstart-l3", "imdb"): (1, 0, 0, 0, None),
        ("quickstart-l3", "rotten_tomatoes"): (0, 0, 0, 1, None),
        ("quickstart-l6", "rotten_tomatoes"): (1, 1, 1, 1, None),  # one runs for the first time
    }


def test_old_heartbeats_do_not_count(store: Store) -> None:
    then = time.time() - 61
    for beat in Path(store.uri, "runs", "run").iterdir():
        os.utime(beat, (then, then))
    found = status(store, sweep())
    assert found.total == Counts(1, 2, 1, 0, 4, {"bad_input": 1, "unknown": 1})


def test_as_rows_and_as_text(store: Store) -> None:
    found = status(store, sweep())
    first = {"backbone": "quickstart-l6", "task": "rotten_tomatoes", "trials": 4, "done": 1, "failed": 1}
    assert found.to_rows()[0] == {**first, "diverged": 1, "running": 1, "missing": 0, "failures": {"bad_input": 1}}
    assert json.loads(json.dumps(found.to_dict()))["total"]["missing"] == 3
    assert found.render().splitlines()[-1].split() == ["total", "8", "1", "1", "1", "2", "3", "1", "bad_input"]
    assert "missing" not in status(store).render()


def test_failed_trials_by_class(store: Store) -> None:
    """The most frequent class first; a row of before there were classes is of none that is known."""
    for one in TRIALS[5:7]:
        store.append(row(one, None, state="failed", failure_class="out_of_memory"))
    store.append(row(TRIALS[7], None, state="failed"))
    total = status(store).to_dict()["total"]
    assert list(total["failures"].items()) == [("out_of_memory", 2), ("bad_input", 1), ("unknown", 1)]
    assert sum(total["failures"].values()) == total["failed"]
    small, large = status(store, sweep()).render().splitlines()[1:3]
    assert (small[-11:], large[-26:]) == ("1 bad_input", "2 out_of_memory, 1 unknown")
    assert status(store).render().splitlines()[0].endswith("failed by")


def test_without_a_failed_trial_there_are_no_classes(tmp_path: Path) -> None:
    store = Store(tmp_path, create=True)
    store.append(row(TRIALS[0], 0.5))
    assert status(store).to_dict()["total"]["failures"] == {}
    assert "failed by" not in status(store).render()


def test_a_trial_that_failed_inside_its_pack_no_longer_runs(tmp_path: Path) -> None:
    """As soon as the heartbeat of its pack lacks it; one that is tried again does."""
    store = Store(tmp_path, create=True)
    where = {"backbone": TRIALS[0].backbone.name, "task": TRIALS[0].task.name}
    for trials, expected in ((TRIALS[:3], (0, 3)), (TRIALS[1:3], (1, 2)), (TRIALS[:3], (0, 3))):
        store.beat("run", "worker", {"trials": [one.trial_id for one in trials], **where})
        if not store.visible():
            store.append(row(TRIALS[0], None, state="failed", failure_class="bad_trial"))
        for found in (status(store), status(store, sweep())):
            assert (found.total.failed, found.total.running) == expected


def test_an_empty_store_and_none(tmp_path: Path) -> None:
    assert status(Store(tmp_path / "new", create=True)).total.trials == 0
    assert status(Store(tmp_path / "new"), sweep()).total == Counts(missing=8)
    with pytest.raises(ApetError, match="no store at"):
        status(Store(tmp_path / "none"))


def test_who_trains_is_said_by_worker(tmp_path: Path) -> None:
    store, (first, second, *_, other) = Store(tmp_path / "s", create=True), sweep().trials()
    small = {"backbone": "quickstart-l3", "task": "rotten_tomatoes", "steps": 60}
    store.beat("run", "worker-17", {**small, "host": "node-b", "trials": [first.trial_id, second.trial_id], "step": 40})
    store.beat("run", "worker-4", {**small, "host": "node-a", "trials": [other.trial_id], "step": 0})
    store.beat("run", "worker-1", {**small, "trials": ["of another sweep"], "step": 5})
    found = status(store, sweep())
    assert [one[:1] + one[3:] for one in found.working] == [("node-a", 1, 0, 60), ("node-b", 2, 40, 60)]
    assert [one.host for one in status(store).working] == ["node-a", "node-b", "worker-1"], "one that doesn't say"
    line = found.render_working().splitlines()[2]
    assert line.split() == ["node-b", "quickstart-l3", "rotten_tomatoes", "2", "40", "60"]
    assert status(Store(tmp_path / "new", create=True)).render_working() == ""
