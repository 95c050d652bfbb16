"""Failed trials come back from their rows alone."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
import shell
from fake_worker import trial

from orchestrator import resubmit as exported
from orchestrator.driver.summary import Summary
from orchestrator.planning.packing import Todo
from orchestrator.results.resubmit import failed, resubmit
from trials.errors import ApetError
from trials.pack import Sources
from trials.sources.locations import find_data, verify
from trials.store.record import record
from trials.store.store import Store
from trials.sweep.resources import Resources
from trials.trial import TaskRef, Trial


@pytest.fixture
def reviews(tmp_path: Path) -> TaskRef:
    """A task in a local folder."""
    folder = tmp_path / "reviews"
    folder.mkdir()
    for split in ("train", "validation", "test"):
        (folder / f"{split}.jsonl").write_text('{"text": "good film", "label": 1}\n{"text": "bad", "label": 0}\n')
    source, _ = find_data("rotten_tomatoes", folder)
    return TaskRef("rotten_tomatoes", source)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", create=True)


def add(store: Store, one: Trial, state: str, tmp_path: Path, attempt: int = 0, **columns: Any) -> None:
    found = {"weights_source": "random:tiny-bert", "data_source": f"folder:{tmp_path / 'reviews'}", "sweep": "mine"}
    store.append(record(one, state=state, attempt=attempt, **{**found, **columns}), [])


def test_the_next_attempt_at_every_failed_trial_and_no_other(store: Store, reviews: TaskRef, tmp_path: Path) -> None:
    trials = [trial(i, task=reviews) for i in range(4)]
    for one, state in zip(trials, ("failed", "completed", "diverged", "failed"), strict=True):
        add(store, one, state, tmp_path)
    add(store, trials[3], "completed", tmp_path, attempt=1)  # done since
    add(store, trials[0], "failed", tmp_path, attempt=4)
    (again,) = failed(store)
    assert again.trial == trials[0]
    assert (again.attempt, again.sweep) == (5, "mine")
    assert again.sources == Sources("random:tiny-bert", f"folder:{tmp_path / 'reviews'}")


def test_where_chooses_among_the_failed(store: Store, reviews: TaskRef, tmp_path: Path) -> None:
    for seed in range(3):
        add(store, trial(seed, task=reviews), "failed", tmp_path, error_class="OSError" if seed else "ValueError")
    assert {one.trial.train_seed for one in failed(store, "error_class = 'OSError'")} == {1, 2}
    with pytest.raises(ApetError):
        failed(store, "no_such_column = 1")


def test_a_limit_and_a_dry_run(store: Store, reviews: TaskRef, tmp_path: Path) -> None:
    for seed in range(3):
        add(store, trial(seed, task=reviews), "failed", tmp_path)
    every = [one.trial.trial_id for one in failed(store)]
    assert [one.trial.trial_id for one in failed(store, limit=2)] == every[:2]
    with pytest.raises(ApetError, match="limit 0"):
        resubmit(store, limit=0)
    before = sorted(tmp_path.rglob("*"))
    result = shell.apet("resubmit", "--store", store.uri, "--limit", 2, "--dry-run", "--json")
    assert [(one["trial_id"], one["state"]) for one in json.loads(result.stdout)] == [(i, "failed") for i in every[:2]]
    assert "nothing was run" in result.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_changed_content_is_refused(store: Store, reviews: TaskRef, tmp_path: Path) -> None:
    add(store, trial(0, task=reviews), "failed", tmp_path)
    assert failed(store)
    with (tmp_path / "reviews" / "train.jsonl").open("a") as file:
        file.write('{"text": "new", "label": 1}\n')
    with pytest.raises(ApetError, match="not what the trial was given"):
        resubmit(store)


def test_the_targets_of_a_transfer_are_checked_too(store: Store, reviews: TaskRef, tmp_path: Path) -> None:
    one = trial(0, task=reviews, evaluate_on=(reviews,))
    add(store, one, "failed", tmp_path, transfer_sources={"rotten_tomatoes": f"folder:{tmp_path / 'gone'}"})
    verify(reviews.data, f"folder:{tmp_path / 'reviews'}")
    with pytest.raises(ApetError, match="gone"):
        resubmit(store)


def test_a_row_without_sources_is_refused(store: Store, reviews: TaskRef, tmp_path: Path) -> None:
    add(store, trial(0, task=reviews), "failed", tmp_path, data_source=None)
    with pytest.raises(ApetError, match="doesn't say where"):
        resubmit(store)


def test_with_nothing_failed_nothing_starts(store: Store, reviews: TaskRef, tmp_path: Path) -> None:
    add(store, trial(0, task=reviews), "completed", tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert str(resubmit(store)).startswith("nothing to do")
    assert sorted(tmp_path.rglob("*")) == before
    assert exported is resubmit


def test_trials_get_the_resources_of_their_own_sweep_as_it_was_run_last(
    store: Store, reviews: TaskRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("orchestrator.results.resubmit")
    given: list[tuple[int, Resources]] = []

    def execute(todo: list[Todo], store: Store, resources: Resources, **options: Any) -> Summary:
        given.append((len(todo), resources))
        return Summary(len(todo), 0, completed=len(todo), workers_started=1)

    monkeypatch.setattr(module, "execute", execute)
    for seed, sweep in enumerate(("mine", "other", "mine", "unsaved", "other-2", "other_2")):
        add(store, trial(seed, task=reviews), "failed", tmp_path, sweep=sweep)
    old = tmp_path / "store" / store.save_sweep("mine", "resources: {retries: 9}\n")
    os.utime(old, (1, 1))
    store.save_sweep("mine", "tasks: [{name: rte, data_dir: gone}]\nresources: {pack_size: 4, retries: 0, gpus: 0}\n")
    store.save_sweep("other", "resources: {micro_batch: 8}\n")
    store.save_sweep("other-2", "resources: {retries: 1}\n")
    store.save_sweep("other_2", "resources: {retries: 5}\n")
    summary = resubmit(store)
    assert (summary.asked, summary.completed, summary.workers_started, summary.remaining) == (6, 6, 5, 0)
    names = ("retries", "pack_size", "gpus", "micro_batch")
    found = [(n, *(getattr(resources, name) for name in names)) for n, resources in given]
    auto = "auto"
    assert sorted(found, key=str) == sorted(
        [
            *((1, 1, auto, auto, auto), (1, 2, auto, auto, 8), (1, 2, auto, auto, auto)),
            *((1, 5, auto, auto, auto), (2, 0, 4, 0, auto)),
        ],
        key=str,
    )


def test_what_is_set_replaces_what_the_sweep_said_and_is_checked_first(
    store: Store, reviews: TaskRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("orchestrator.results.resubmit")
    given: list[Resources] = []
    monkeypatch.setattr(
        module, "execute", lambda todo, store, resources, **_: (given.append(resources), Summary(len(todo), 0))[1]
    )
    for seed, sweep in enumerate(("mine", "unsaved")):
        add(store, trial(seed, task=reviews), "failed", tmp_path, sweep=sweep)
    store.save_sweep("mine", "resources: {pack_size: 4, retries: 0, checkpoint_s: 5}\n")
    resubmit(store, settings=["resources.checkpoint_s=2.5", "resources.pack_size=2"])
    assert given == [Resources(pack_size=2, retries=0, checkpoint_s=2.5), Resources(pack_size=2, checkpoint_s=2.5)]
    for setting, said in (
        ("training.steps=5", "give a key of resources"),
        ("resources.gpu=1", "did you mean gpus"),
        ("resources.checkpoint_s=0", "a number of seconds above 0"),
        ("resources.gpus", "give KEY=VALUE"),
    ):
        with pytest.raises(ApetError, match=said):
            resubmit(store, settings=[setting])
    assert len(given) == 2


def test_a_stop_leaves_the_other_sweeps_for_later(
    store: Store, reviews: TaskRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("orchestrator.results.resubmit")
    monkeypatch.setattr(module, "execute", lambda todo, store, resources, **_: Summary(len(todo), 0, stopped=2))
    for seed, sweep in enumerate(("mine", "other")):
        add(store, trial(seed, task=reviews), "failed", tmp_path, sweep=sweep)
    store.save_sweep("other", "resources: {micro_batch: 8}\n")
    summary = resubmit(store)
    assert (summary.asked, summary.remaining, summary.stopped) == (2, 2, 2)
