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
    made.append(row(TRIALS[1], None, state="failed"))
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
        (("quickstart-l6", "rotten_tomatoes"), Counts(done=1, failed=1, diverged=1, running=1, missing=0)),
        (("quickstart-l3", "rotten_tomatoes"), Counts(running=1, missing=3)),
    ]
    assert found.total == Counts(done=1, failed=1, diverged=1, running=2, missing=3)
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
    assert found.total == Counts(done=1, failed=2, diverged=1, running=0, missing=4)


def test_as_rows_and_as_text(store: Store) -> None:
    found = status(store, sweep())
    first = {"backbone": "quickstart-l6", "task": "rotten_tomatoes", "trials": 4, "done": 1, "failed": 1}
    assert found.to_rows()[0] == {**first, "diverged": 1, "running": 1, "missing": 0}
    assert json.loads(json.dumps(found.to_dict()))["total"]["missing"] == 3
    assert found.render().splitlines()[-1].split() == ["total", "8", "1", "1", "1", "2", "3"]
    assert "missing" not in status(store).render()


def test_an_empty_store_and_none(tmp_path: Path) -> None:
    assert status(Store(tmp_path / "new", create=True)).total.trials == 0
    assert status(Store(tmp_path / "new"), sweep()).total == Counts(missing=8)
    with pytest.raises(ApetError, match="no store at"):
        status(Store(tmp_path / "none"))
