"""Whole sweeps on gangs: the scores of one rank, each backbone loaded once, and checkpoints that hold the same."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from drivers import apet_run, end_all, write_reviews

from trials.store.store import Store

pytest.importorskip("torch")
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
if not Path("/proc").is_dir():
    pytest.skip("looks for processes in /proc", allow_module_level=True)

SWEEP = """\
name: gangs
backbones: [{backbones}]
tasks: [{{name: rotten_tomatoes, data_dir: data}}]
methods: [bitfit, {{method: lora, rank: 2}}, {{method: apet, counts: [30]}}]
learning_rates: [1.0e-2]
training: {{steps: {steps}, batch_size: 8, eval_every: {every}}}
resources: {{gpus: 0, ranks: {ranks}, zero_stage: {stage}, pack_size: 2, checkpoint_s: 0.5}}
"""
FAMILIES = {"backbones": "tiny-bert, tiny-bloom, tiny-t5", "steps": 8, "every": 4}
LONG = {"backbones": "tiny-bert", "steps": 300, "every": 100}
SAME = ("state", "best_step", "steps_done", "count_actual", "tokens")
SCORES = ("validation_score", "test_score", "train_loss")
SUMMED = 1e-4  # relative: what gradients differ in that are summed in another order, after some steps

Rows = dict[str, dict[str, Any]]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    write_reviews(tmp_path / "data")
    yield tmp_path
    end_all()


def sweep(folder: Path, shape: Mapping[str, Any], ranks: int = 2, stage: int = 3) -> str:
    """A sweep file, by name."""
    (folder / f"{ranks}-{stage}.yaml").write_text(SWEEP.format(**shape, ranks=ranks, stage=stage))
    return f"{ranks}-{stage}.yaml"


def run(folder: Path, file: str, store: str) -> Rows:
    """The rows of a run that comes to its end and leaves nothing, by trial."""
    driver = apet_run(folder, store, sweep=file)
    assert driver.process.wait(timeout=600) == 0, driver.said()
    driver.gone_after()
    return {row["trial_id"]: row for row in Store(folder / store).attempts().to_pylist()}


def test_a_sweep_on_one_warm_gang_has_the_scores_of_one_rank(folder: Path) -> None:
    alone = run(folder, sweep(folder, FAMILIES, ranks=1, stage=0), "alone")
    found = run(folder, sweep(folder, FAMILIES), "gang")
    assert found.keys() == alone.keys()
    for trial_id, row in found.items():
        assert [row[name] for name in SAME] == [alone[trial_id][name] for name in SAME], row["backbone"]
        for name in SCORES:
            assert row[name] == pytest.approx(alone[trial_id][name], rel=SUMMED), (row["backbone"], name)
    assert {(row["ranks"], row["zero_stage"], row["attempt"]) for row in found.values()} == {(2, 3, 0)}
    packs = {(row["backbone"], row["pack_id"]): row["load_s"] > 0 for row in found.values()}
    assert len(packs) == 6, "two a backbone"
    assert sorted(backbone for (backbone, _), loaded in packs.items() if loaded) == sorted(
        FAMILIES["backbones"].split(", ")
    ), "each is loaded once, by one gang"


@pytest.mark.parametrize("asked", [True, False])
def test_a_pack_that_ended_in_the_middle_has_the_numbers_of_one_that_did_not(asked: bool, folder: Path) -> None:
    """Its gang is asked to stop, by Ctrl-C; or its first rank is killed, and the driver brings its trials back."""
    file = sweep(folder, LONG)
    whole = run(folder, file, "whole")
    driver, store = apet_run(folder, "store", sweep=file), folder / "store"
    driver.wait_until(lambda: len(list(store.rglob("checkpoints/*/*.safetensors"))) == 2, seconds=300)
    if asked:
        os.killpg(driver.process.pid, signal.SIGINT)
        assert driver.process.wait(timeout=60) == 130, driver.said()
        assert "stopped: 0 completed, 0 diverged, 0 failed" in driver.said()
    else:
        time.sleep(0.5)
        (first,) = {int(pid) for pid in [min(p for p, c in driver.alive().items() if "workers.gang.rank" in c)]}
        os.kill(first, signal.SIGKILL)
        assert driver.process.wait(timeout=600) == 0, driver.said()
    driver.gone_after()
    found = run(folder, file, "store")
    assert {row["attempt"] for row in found.values()} == ({0} if asked else {0, 1})
    assert found.keys() == whole.keys()
    for trial_id, row in found.items():
        assert [row[n] for n in (*SAME, *SCORES)] == [whole[trial_id][n] for n in (*SAME, *SCORES)], row["method"]
