"""Sweep, data, weights and store moved, together or apart: what a trial was given is found again by its content."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from folders_for_tests import BERT, LM_HEAD, write_model, write_rows
from shell import apet, refused

from orchestrator.driver.run import missing
from orchestrator.results.places import Given
from orchestrator.results.resubmit import failed
from orchestrator.results.show import pack_of, show
from trials.errors import ApetError, Problems
from trials.sources.locations import verify
from trials.store.record import record
from trials.store.store import Store
from trials.sweep.sweep import Sweep
from trials.trial import Trial

SWEEP = """\
name: mine
backbones: [{name: mine, family: bert, model_dir: model}]
tasks: [{name: rotten_tomatoes, data_dir: data/reviews}, {name: rte, data_dir: ./data/rte}]
methods: [bitfit]
learning_rates: [1.0e-3]
evaluate_on: [{name: sst2, data_dir: ../shared/sst2}]
training: {steps: 1}
"""


@dataclass
class Study:
    """A folder with a sweep, what it needs, and a store where all its trials failed."""

    folder: Path

    @property
    def sweep(self) -> Path:
        return self.folder / "study" / "sweep.yaml"

    @property
    def store(self) -> Store:
        return Store(self.folder / "study" / "runs" / "store")

    def move(self, to: Path) -> Study:
        shutil.move(self.folder, to)
        return Study(to)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder has nothing to do with the study."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.delenv("APET_DATA", raising=False)


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Study]:
    made = Study(tmp_path / "old")
    made.sweep.parent.mkdir(parents=True)
    write_model(made.sweep.parent / "model")
    write_rows(made.sweep.parent / "data" / "reviews" / "train.jsonl")
    pairs = [{"sentence1": f"a {i}", "sentence2": "b", "label": i % 2} for i in range(4)]
    write_rows(made.sweep.parent / "data" / "rte" / "train.jsonl", pairs)
    write_rows(made.folder / "shared" / "sst2" / "train.jsonl", [{"sentence": "c", "label": 1}] * 3)
    made.sweep.write_text(SWEEP)
    fill(Store(made.store.uri, create=True), Sweep.load(made.sweep))
    return made


def fill(store: Store, sweep: Sweep) -> None:
    """What a run leaves where every trial fails."""
    store.save_sweep(sweep.name, sweep.standalone())
    for trial in sweep.trials():
        columns: dict[str, Any] = {**sweep.sources(trial).columns(), "sweep": sweep.name}
        store.append(record(trial, state="failed", **columns))


def check_found(found: list[Any], *, below: Path) -> None:
    """Every trial, with whole paths to the right content, none outside of ``below``."""
    assert len(found) == 2
    for todo in found:
        trial: Trial = todo.trial
        verify(trial.backbone.weights, todo.sources.weights)
        verify(trial.task.data, todo.sources.data)
        assert set(todo.sources.targets) == {"sst2"}
        verify(trial.evaluate_on[0].data, todo.sources.targets["sst2"])
        for place in (todo.sources.weights, todo.sources.data, *todo.sources.targets.values()):
            assert place.startswith(f"folder:{below}/"), place


def test_rows_have_the_paths_that_the_sweep_has(study: Study) -> None:
    rows = study.store.trials().to_pylist(maps_as_pydicts="strict")
    assert {row["weights_source"] for row in rows} == {"folder:model"}
    assert {row["data_source"] for row in rows} == {"folder:data/reviews", "folder:data/rte"}
    assert [row["transfer_sources"] for row in rows] == [{"sst2": "folder:../shared/sst2"}] * 2
    text = SWEEP.replace("model_dir: model", f"model_dir: {study.sweep.parent}/model")
    whole = Sweep.parse(text, folder=study.sweep.parent)
    columns = whole.sources(whole.trials()[0]).columns()
    assert columns["weights_source"] == f"folder:{study.sweep.parent}/model", "a whole path stays whole"


def test_all_moved_together(study: Study, tmp_path: Path) -> None:
    there = study.move(tmp_path / "new place")
    check_found(failed(there.store), below=there.folder)
    sweep = Sweep.load(there.sweep)
    assert missing(sweep, there.store) == (2, []), "all have rows"
    listed = apet("resubmit", "--store", there.store.uri, "--dry-run", "--json")
    assert len(json.loads(listed.stdout)) == 2
    ran = apet("run", there.sweep, "--store", there.store.uri)
    command = f"apet resubmit --store '{there.store.uri}' --sweep '{there.sweep}'"
    assert f"`{command}` makes new attempts" in ran.stderr
    check_found(failed(there.store, given=Given(sweep)), below=there.folder)


def test_a_store_by_its_uri_and_from_its_own_folder(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = study.move(tmp_path / "new")
    check_found(failed(Store(f"file://{there.store.uri}")), below=there.folder)
    monkeypatch.chdir(there.store.uri)
    check_found(failed(Store(".")), below=there.folder)


def test_the_store_alone_moved(study: Study, tmp_path: Path) -> None:
    """Its own copy of the sweep still leads to the folders."""
    shutil.move(study.store.uri, tmp_path / "store")
    found = failed(Store(tmp_path / "store"))
    check_found(found, below=study.folder)
    assert {todo.sources.columns()["data_source"] for todo in found} == {"folder:data/reviews", "folder:data/rte"}


def test_from_the_sweeps_folder_or_with_the_sweep(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.move(study.store.uri, tmp_path / "apart" / "store")
    there, store = study.move(tmp_path / "new"), Store(tmp_path / "apart" / "store")
    with pytest.raises(Problems) as error:
        failed(store)
    assert len(error.value.problems) == 4, "the weights, two tasks and a target, each once"
    for part in ("data/rte not found", "--data rte=FOLDER", "--weights mine=FOLDER", "--sweep FILE"):
        assert part in str(error.value)
    check_found(failed(store, given=Given(Sweep.load(there.sweep))), below=there.folder)
    monkeypatch.chdir(there.sweep.parent)
    check_found(failed(store), below=there.folder)


def test_a_sweep_of_other_trials_on_the_same_content(study: Study, tmp_path: Path) -> None:
    shutil.move(study.store.uri, tmp_path / "apart" / "store")
    there, store = study.move(tmp_path / "new"), Store(tmp_path / "apart" / "store")
    file = there.sweep.with_name("other.yaml")
    file.write_text(SWEEP.replace("bitfit", "lora").replace("name: mine\n", ""))
    check_found(failed(store, given=Given(Sweep.load(file))), below=there.folder)


def test_folders_given_by_name(study: Study, tmp_path: Path) -> None:
    """A store copied to another machine, where the folders have other names."""
    shutil.copytree(study.store.uri, tmp_path / "copy")
    there = study.move(tmp_path / "gone")
    here = tmp_path / "here"
    for old, new in (("study/model", "w"), ("study/data/reviews", "a"), ("study/data/rte", "b"), ("shared/sst2", "c")):
        shutil.copytree(there.folder / old, here / new)
    shutil.rmtree(there.folder)
    words = ["--weights", f"mine={here}/w", "--data", f"rotten_tomatoes={here}/a", "--data", f"sst2={here}/c"]
    store = Store(tmp_path / "copy")
    refused("resubmit", "--store", store.uri, *words, "--dry-run", says=["rte not found", "--data rte=FOLDER"])
    words += ["--data", f"rte={here}/b"]
    listed = apet("resubmit", "--store", store.uri, *words, "--dry-run", "--json")
    assert len(json.loads(listed.stdout)) == 2
    data = {"rotten_tomatoes": [here / "a"], "rte": [here / "b"], "sst2": [here / "c"]}
    check_found(failed(store, given=Given(None, data, {"mine": [here / "w"]})), below=here)
    trial_id = store.trials()["trial_id"][0].as_py()
    pack = json.loads(apet("show", trial_id, "--store", store.uri, *words, "--pack").stdout)
    assert pack["sources"]["weights"] == f"folder:{here}/w"


def test_a_folder_of_another_content_is_refused(study: Study, tmp_path: Path) -> None:
    """And it is said what differs."""
    store, data = study.store, study.sweep.parent / "data"
    other = write_model(tmp_path / "other", {**BERT, "hidden_size": 32})
    changed = write_model(tmp_path / "changed", BERT, (*LM_HEAD, "extra"))
    (changed / "tokenizer.json").write_text('{"a": 1}')
    write_rows(tmp_path / "rte" / "train.jsonl", [{"sentence1": "x", "sentence2": "y", "label": 0}])
    for given, says in (
        (["--data", f"rte={tmp_path}/rte"], ["not what trial", "train.jsonl of 49 bytes", "sha256"]),
        (["--data", f"rte={data}/reviews"], ["it holds what trials were given as rotten_tomatoes"]),
        (["--data", f"rte={tmp_path}/nothing"], ["nothing: not found"]),
        (["--data", f"mnli={data}/rte"], ["--data mnli=", "no trial", "Choices: rotten_tomatoes, rte, sst2"]),
        (["--weights", f"mine={other}"], ["d_model is 32, not 64"]),
        (["--weights", f"mine={changed}"], ["tokenizer.json of 8 bytes"]),
        (["--weights", "mine"], ["give a name and a folder"]),
    ):
        message = refused("resubmit", "--store", store.uri, *given, "--dry-run", says=says)
        assert "1 error in" in message or "give a name" in message, "what is in its place is still found"


def test_two_folders_for_one_task(study: Study, tmp_path: Path) -> None:
    """Trials of one task with different data: each takes the folder that has its own."""
    second = write_rows(tmp_path / "second" / "train.jsonl", [{"text": "new", "label": 0}] * 2).parent
    text = f"""
name: other
backbones: [tiny-bert]
tasks: [{{name: rotten_tomatoes, data_dir: {second}}}]
methods: [bitfit]
learning_rates: [1.0e-3]
training: {{steps: 1}}
"""
    fill(study.store, Sweep.parse(text))
    first = study.sweep.parent / "data" / "reviews"
    moved = [Path(shutil.move(folder, tmp_path / f"new-{i}")) for i, folder in enumerate((first, second))]
    found = failed(study.store, "task = 'rotten_tomatoes'", given=Given(None, {"rotten_tomatoes": moved}))
    assert {todo.sweep: todo.sources.data for todo in found} == {
        "mine": f"folder:{moved[0]}",
        "other": f"folder:{moved[1]}",
    }


def test_data_in_the_folder_of_all_tasks(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.move(study.sweep.parent / "data" / "rte", tmp_path / "all" / "rte")
    with pytest.raises(ApetError, match="rte not found"):
        failed(study.store)
    monkeypatch.setenv("APET_DATA", str(tmp_path / "all"))
    (todo,) = failed(study.store, "task = 'rte'")
    assert todo.sources.data == f"folder:{tmp_path}/all/rte"
    write_rows(tmp_path / "all" / "rte" / "validation.jsonl")
    with pytest.raises(ApetError, match="not what the trial was given"):
        failed(study.store, "task = 'rte'")


def test_the_nearest_folder_with_the_content_wins(study: Study, tmp_path: Path) -> None:
    """A folder of that name with another content isn't taken, nor is it in the way."""
    there = study.move(tmp_path / "new")
    write_rows(there.store.folder / "data" / "rte" / "train.jsonl", [{"other": 1}])  # type: ignore[operator]
    check_found(failed(there.store), below=there.folder)


def test_show_says_where_it_is_now(study: Study, tmp_path: Path) -> None:
    there = study.move(tmp_path / "new")
    trial_id = there.store.trials()["trial_id"][0].as_py()
    text = apet("show", trial_id, "--store", there.store.uri).stdout
    assert f"weights: {there.sweep.parent}/model\n" in text.replace("folder:", "")
    assert "not there now" not in text
    pack = pack_of(show(trial_id, there.store))
    verify(pack.members[0].trial.backbone.weights, pack.sources.weights)
    assert pack.sources.weights.startswith(f"folder:{there.sweep.parent}/")
    shutil.rmtree(there.sweep.parent / "model")
    text = apet("show", trial_id, "--store", there.store.uri).stdout
    assert "weights: folder:model\n" in text
    assert "not there now: weights of mine: model not found" in text
    assert "--weights mine=FOLDER" in text
    refused("show", trial_id, "--store", there.store.uri, "--pack", says=[trial_id, "--weights mine=FOLDER"])
