"""What a sweep file stands for: its trials."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from folders_for_tests import BERT, write_model, write_rows
from sweeps_for_tests import apet, one, sweep

import trials
from trials.errors import ApetError
from trials.modules.methods import MIXTURE
from trials.sweep.sweep import Sweep, builtin_names, builtin_text, json_schema
from trials.trial import Trial


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("APET_DATA", raising=False)


# Blocks


def test_blocks_have_the_keys_beside_them_as_defaults() -> None:
    found = sweep(
        methods=None,
        training={"steps": 4, "batch_size": 8},
        blocks=[
            {"methods": ["bitfit"]},
            {"methods": ["lora"], "tasks": ["sst2"], "training": {"steps": 9}, "learning_rates": [0.1]},
        ],
    )
    have = [
        (t.method.name, t.task.name, t.training.steps, t.training.batch_size, t.learning_rate) for t in found.trials()
    ]
    assert have == [("bitfit", "rte", 4, 8, 1e-3), ("lora", "sst2", 9, 8, 0.1)]


def test_the_same_trial_of_two_blocks_is_one() -> None:
    found = sweep(methods=None, blocks=[{"methods": ["lora", "bitfit"]}, {"methods": [{"method": "lora", "rank": 8}]}])
    assert [t.method.name for t in found.trials()] == ["lora", "bitfit"]
    assert found.duplicates == 1


# Heads, labels, targets


@pytest.mark.parametrize(
    ("backbone", "head", "expected", "scale"),
    [
        ("tiny-bert", "auto", "verbalizer", None),
        ("tiny-bert", "frozen", "frozen", 0.3),
        ("tiny-bert", "trained", "trained", 0.3),
        ("tiny-t5", "auto", None, None),
        ("tiny-bloom", "auto", None, None),
    ],
)
def test_heads(backbone: str, head: str, expected: str | None, scale: float | None) -> None:
    found = sweep(backbones=[backbone], head=head)
    (trial,) = found.trials()
    assert (trial.head, trial.backbone.head_scale) == (expected, scale)
    assert found.sources(trial).weights == f"random:{backbone}"


def test_an_encoder_without_a_language_model_head_gets_a_frozen_one(tmp_path: Path) -> None:
    write_model(tmp_path / "m", BERT, ["bert.weight"])
    text = json.dumps({"name": "mine", "family": "bert", "model_dir": "m"})
    rest = "tasks: [rte]\nmethods: [lora]\nlearning_rates: [0.1]\ntraining: {steps: 1}"
    (trial,) = Sweep.parse(f"backbones: [{text}]\n{rest}", folder=tmp_path).trials()
    assert (trial.head, trial.backbone.head_scale) == ("frozen", 0.3)


def test_targets_leave_the_trained_task_out() -> None:
    names = ["sst2", "rte", "mrpc"]
    found = sweep(tasks=names, evaluate_on=names, labels="unified")
    targets = {t.task.name: [ref.name for ref in t.evaluate_on] for t in found.trials()}
    assert targets == {"sst2": ["mrpc", "rte"], "rte": ["mrpc", "sst2"], "mrpc": ["rte", "sst2"]}
    assert {t.labels for t in found.trials()} == {"unified"}
    assert set(found.sources(found.trials()[0]).targets) == {"rte", "mrpc"}


def test_a_target_is_the_entry_of_the_same_name_in_tasks(tmp_path: Path) -> None:
    write_rows(tmp_path / "d" / "train.jsonl")
    found = sweep(
        tasks=["sst2", {"name": "rotten_tomatoes", "data_dir": str(tmp_path / "d"), "test_rows": 2}],
        evaluate_on=["rotten_tomatoes"],
    )
    (first, second) = found.trials()
    assert first.evaluate_on == (second.task,)
    assert found.sources(first).targets == {"rotten_tomatoes": f"folder:{tmp_path / 'd'}"}
    assert second.evaluate_on == ()


# Sources and paths


def test_folders_are_relative_to_the_file_and_no_part_of_an_id(tmp_path: Path) -> None:
    ids = set()
    for name in ("a", "b"):
        write_model(tmp_path / name / "m")
        write_rows(tmp_path / name / "d" / "train.jsonl")
        file = tmp_path / name / "my sweep.yaml"
        file.write_text(
            "backbones: [{name: mine, family: bert, model_dir: m}]\n"
            "tasks: [{name: rotten_tomatoes, data_dir: d, train_rows: 2}]\n"
            "methods: [bitfit]\nlearning_rates: [1e-3]\ntraining: {steps: 1}\n"
        )
        found = Sweep.load(file)
        (trial,) = found.trials()
        ids.add(trial.trial_id)
        where = found.sources(trial)
        assert (where.weights, where.data) == (f"folder:{tmp_path / name}/./m", f"folder:{tmp_path / name}/./d")
        assert found.name == "my-sweep"
        assert trial.task.train_rows == 2
    assert len(ids) == 1


def test_sources_of_another_sweeps_trial() -> None:
    trial = one(backbones=["tiny-t5"])
    with pytest.raises(ApetError, match="is not of sweep"):
        sweep().sources(trial)
    again = Trial.from_spec(one().spec)
    assert sweep().sources(again).weights == "random:tiny-bert"


# The house's own files


def test_every_trial_survives_its_spec() -> None:
    found = sweep(
        backbones=["tiny-bert", "tiny-t5"],
        tasks=["sst2", "mnli"],
        methods=["full", "bitfit", "lora", "adapter", apet()],
        evaluate_on=["rte"],
    )
    for trial in found.trials():
        assert Trial.from_spec(trial.spec) == trial


def test_built_in_sweeps_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trials.sources.locations._check_package", lambda source: None)
    assert "quickstart" in builtin_names()
    for name in builtin_names():
        found = Sweep.load(name)
        assert found.trials()
        assert (found.name, found.text, found.duplicates) == (name, builtin_text(name), 0)


def test_quickstart_is_what_its_readme_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trials.sources.locations._check_package", lambda source: None)
    found = Sweep.load("quickstart").trials()
    assert {t.backbone.name for t in found} == {"quickstart-l3", "quickstart-l6"}
    assert {t.task.name for t in found} == {"rotten_tomatoes"}
    assert {t.method.name for t in found} == {"full", "bitfit", "lora", "apet"}
    apets = [t.method for t in found if t.method.name == "apet"]
    assert len({m.count for m in apets}) >= 6
    assert {tuple(m.operations or ()) for m in apets} == {tuple(MIXTURE)}
    assert len({t.position_seed for t in found if t.method.name == "apet"}) == 3


def test_unknown_sweeps_and_files(tmp_path: Path) -> None:
    with pytest.raises(ApetError, match="did you mean quickstart"):
        Sweep.load("quickstrat")
    with pytest.raises(ApetError, match="directory"):
        Sweep.load(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"name: \xe9")
    with pytest.raises(ApetError, match="not UTF-8"):
        Sweep.load(tmp_path / "latin.yaml")
    with pytest.raises(ApetError, match="not built in"):
        builtin_text("nothing")


def test_json_schema_names_every_key() -> None:
    schema = json_schema()
    assert schema["additionalProperties"] is False
    for key in ("backbones", "tasks", "methods", "learning_rates", "training", "blocks", "resources", "head"):
        assert key in schema["properties"]
    assert '"default": null, "oneOf"' not in json.dumps(schema)
    assert {"from", "to", "points"} == set(schema["$defs"]["Range"]["required"])


def test_twenty_thousand_trials_in_a_moment() -> None:
    start = time.process_time()
    found = sweep(
        backbones=["tiny-bert", "t5-xxl"],
        tasks=["sst2", "rte", "mrpc", "imdb"],
        methods=[apet(counts={"from": 16, "to": 60000, "points": 25}, position_seeds=50)],
        learning_rates=[1e-3, 1e-2],
    )
    assert len(found.trials()) == 20_000
    assert len({trial.trial_id for trial in found.trials()}) == 20_000
    assert time.process_time() - start < 2


def test_importing_trials_loads_nothing_heavy() -> None:
    code = (
        "import sys, trials; a = 'trials.sweep.sweep' in sys.modules; from trials import Sweep, Trial, Pack; "
        "heavy = {'torch', 'ray', 'transformers', 'deepspeed', 'pandas'}; "
        "print(a, sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "[]"]
    assert trials.Trial is Trial
    with pytest.raises(AttributeError, match="nothing"):
        _ = trials.nothing
