"""Of a copy of the project with one more operation, ``scale``, and one more method, ``ia3``: both work everywhere.

``test_extending.py`` makes the copy and runs this file in it, beside the contract tests that are there already.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from shell import apet, refused
from worker_for_tests import pack_of, rows_of, run, scores

from trials.modules import methods
from trials.modules.operations import OPERATIONS
from trials.store.store import Store
from trials.sweep.sweep import Sweep
from trials.trial import Trial
from workers.modules.file import ModuleFile
from workers.worker import Worker

FAMILIES = ("tiny-bert", "tiny-bloom", "tiny-t5")
SWEEP = """\
name: more
backbones: [tiny-bert, tiny-bloom, tiny-t5]
tasks: [{name: rotten_tomatoes, data_dir: reviews}]
methods:
  - {method: apet, operations: {add: 1, scale: 1}, counts: [301]}
  - {method: apet, operations: {scale: 1, plug: 1, concat: 1}, sites: {scale: [norm, o]}, counts: [700]}
  - {method: apet, counts: {like: [ia3]}}
  - ia3
  - {method: ia3, share: 0.5}
learning_rates: [1.0e-2]
training: {steps: 4, batch_size: 4, eval_every: 2}
"""
LORA = "  - {method: lora, rank: 2}\n"


@pytest.fixture
def sweep(folder: Path) -> Path:
    path = folder.parent / "more.yaml"
    path.write_text(SWEEP.replace("learning_rates", LORA + "learning_rates", 1))
    return path


def of(sweep: Path, backbone: str) -> list[Trial]:
    return [trial for trial in Sweep.load(sweep).trials() if trial.backbone.name == backbone]


def test_a_sweep_file_has_them(sweep: Path) -> None:
    mixed, three, like, ia3, half, lora = of(sweep, "tiny-bert")
    assert mixed.method.operations == {"add": 1, "scale": 1}
    assert three.method.sites == {
        "concat": ("q", "k", "v", "o", "up", "down"),
        "plug": ("o", "down"),
        "scale": ("o", "norm"),
    }
    assert like.method.operations == {"add": 1, "concat": 1, "plug": 1}, "what says nothing is as it was"
    assert (ia3.method.sizes, half.method.sizes) == ({"share": 1.0}, {"share": 0.5})
    assert like.method.count == methods.count_of(ia3.method, ia3.backbone) == 2 * (64 + 64 + 128)
    assert methods.count_of(half.method, half.backbone) == 256
    assert "share" not in json.loads(lora.spec)["method"]
    assert all(Trial.from_spec(trial.spec) == trial for trial in of(sweep, "tiny-bert"))


def test_a_plan_counts_them_and_the_schema_knows_them(sweep: Path) -> None:
    said = apet("plan", sweep).stdout
    for words in ("apet add:1 scale:1", "ia3 share 1", "ia3 share 0.5"):
        assert words in said
    schema = json.loads(apet("sweeps", "--schema").stdout)
    share = schema["$defs"]["Ia3"]["properties"]["share"]
    assert (share["default"], share["description"]) == (1.0, "Share of a layer's coordinates.")
    assert schema["$defs"]["Apet"]["properties"]["operations"]["propertyNames"]["enum"] == list(OPERATIONS)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("share: 0.5", "share: 0", ["methods.4.share: 0, must be a number above 0"]),
        ("share: 0.5", "rank: 5", ["methods.4.rank: unknown key", "share"]),
        ("- ia3", "- ia33", ["did you mean ia3?"]),
        ("scale: [norm, o]", "scale: [soft_tokens]", ["site 'soft_tokens': scale can't stand there on bert"]),
        ("{add: 1, scale: 1}, counts: [301]", "{scale: 1}, counts: [9999]", ["tiny-bert: scale 896 scalars"]),
        ("scale: 1}, counts", "scael: 1}, counts", ["must be add, concat, plug or scale; did you mean scale?"]),
    ],
)
def test_mistakes_with_them_are_named(sweep: Path, old: str, new: str, says: list[str]) -> None:
    sweep.write_text(sweep.read_text().replace(old, new, 1))
    refused("plan", sweep, says=says)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_pack_trains_shows_and_exports_them_and_each_is_as_alone_bitwise(
    name: str, sweep: Path, folder: Path, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    trials = of(sweep, name)
    packed, alone = (Store(tmp_path / store, create=True) for store in ("packed", "alone"))
    assert {ended.state for ended in run(Worker(packed), pack_of(folder, *trials))} == {"completed"}
    worker = Worker(alone)
    for trial in trials:
        run(worker, pack_of(folder, trial))
        assert scores(packed, trial) == scores(alone, trial)
        assert torch.equal(theta(packed, trial), theta(alone, trial))
        assert theta(packed, trial).count_nonzero() > 0.9 * len(theta(packed, trial))
        assert rows_of(packed)[trial.trial_id]["count_actual"] == methods.count_of(trial.method, trial.backbone)
    assert dict(rows_of(packed)[trials[0].trial_id]["operations"]) == {"add": 151, "scale": 150}
    shown = apet("show", trials[0].trial_id, "--store", packed.uri).stdout
    assert [line.split() for line in shown.splitlines() if line.startswith("scale")] == [["scale", "150"]]
    out = tmp_path / "out"
    apet("export", trials[3].trial_id, "--store", packed.uri, "--format", "safetensors", "--out", out)
    assert torch.equal(load_file(out / "module.safetensors")["theta"], theta(packed, trials[3]))


def theta(store: Store, trial: Trial) -> Any:
    return ModuleFile.from_bytes(store.load_module(rows_of(store)[trial.trial_id]["module_uri"])).theta
