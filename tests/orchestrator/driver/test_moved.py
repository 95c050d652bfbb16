"""Whole runs on tiny backbones, with what happens to folders: odd names, moved in the middle, a sweep that grows."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fake_worker import WORKER, behave, trial
from paths import ROOT, SUPPORT

from orchestrator.driver.run import execute
from trials.sources.locations import find_data
from trials.store.record import record
from trials.store.store import Store
from trials.sweep.sweep import Sweep
from trials.trial import TaskRef
from workers.pack.checkpoint import Checkpoint

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
pytest.importorskip("torch")

SWEEP = """\
name: moving
backbones: [tiny-bert]
tasks: [{name: rotten_tomatoes, data_dir: data}]
methods: [{method: apet, counts: [30], position_seeds: 1}]
learning_rates: [1.0e-3]
training: {steps: 4, batch_size: 8, eval_every: 2}
"""
SCORES = ("validation_score", "test_score", "best_step", "steps_done", "train_loss", "count_actual", "tokens")


def write_study(folder: Path, text: str = SWEEP) -> Path:
    """A sweep on a few made-up reviews beside it."""
    (folder / "data").mkdir(parents=True)
    for split, rows in (("train", 64), ("validation", 24)):
        lines = [{"text": f"a {'good' if i % 2 else 'bad'} film {split} {i}", "label": i % 2} for i in range(rows)]
        (folder / "data" / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "sweep.yaml").write_text(text)
    return folder


def start(*words: object, folder: Path, **environment: str) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(SUPPORT), str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-c", "from orchestrator.cli import main; main()", *map(str, words)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def apet(*words: object, folder: Path, code: int = 0, **environment: str) -> str:
    """What a command said; it must end with ``code``."""
    process = start(*words, folder=folder, **environment)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == code, said
    return said


def rows(store: Path) -> dict[str, dict[str, Any]]:
    return {row["trial_id"]: row for row in Store(store).attempts().to_pylist(maps_as_pydicts="strict")}


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path is short enough for Ray's sockets."""
    folder = tempfile.mkdtemp(prefix="ä ✓ ", dir="/tmp")
    yield Path(folder)
    shutil.rmtree(folder)


@pytest.mark.parametrize("place", ["short", "long in bytes", "long"])
def test_blanks_and_letters_of_any_language_in_paths(tmp_path: Path, short: Path, place: str) -> None:
    study = write_study(tmp_path / "meine läufe ✓")
    temporary = {"short": short, "long in bytes": short / ("文" * 10), "long": tmp_path / "läufe ✓ tmp"}[place]
    temporary.mkdir(exist_ok=True)
    environment = {"TMPDIR": str(temporary)}
    for store in ("meine läufe ✓/st", study / "läufe mit leerzeichen"):
        said = apet("run", study / "sweep.yaml", "--store", store, folder=tmp_path, **environment)
        assert "1 completed" in said
        (row,) = rows(tmp_path / store).values()
        assert (row["state"], row["data_source"]) == ("completed", "folder:data"), row["error_message"]
        shown = apet("show", row["trial_id"], "--store", store, folder=tmp_path, **environment)
        assert f"data: folder:{study}/data" in shown
    assert not list(temporary.glob("apet-*")), "Ray's folder is gone"


def test_an_interrupted_run_that_moved_goes_on(tmp_path: Path) -> None:
    """From its checkpoints: the points of the curve before have the very seconds that they had."""
    text = SWEEP.replace("steps: 4", "steps: 4000").replace("eval_every: 2", "eval_every: 50")
    study = write_study(tmp_path / "old", text)
    apet("run", "sweep.yaml", "--store", "whole", folder=study)
    process = start("run", "sweep.yaml", "--store", "store", folder=study)
    end = time.monotonic() + 300
    while max((row.get("step", 0) for row in Store(study / "store").running().values()), default=0) < 150:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 130, said
    (checkpoint,) = (study / "store" / "checkpoints").rglob("*.safetensors")
    facts = Checkpoint.from_bytes(checkpoint.read_bytes()).facts
    before = [point["seconds"] for point in facts["curve"]]
    assert len(before) >= 3, "it was interrupted too early to tell"
    new = tmp_path / "new"
    study.rename(new)
    assert "1 completed" in apet("run", new / "sweep.yaml", "--store", new / "store", folder=tmp_path)
    (done,), (whole,) = rows(new / "store").values(), rows(new / "whole").values()
    assert [done[name] for name in SCORES] == [whole[name] for name in SCORES]
    curve = Store(new / "store").curves().to_pylist()
    assert [point["seconds"] for point in sorted(curve, key=lambda point: point["step"])][: len(before)] == before
    assert not list((new / "store" / "checkpoints").rglob("*.safetensors"))


def test_a_sweep_that_grew_runs_what_is_new(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study")
    assert "1 completed" in apet("run", "sweep.yaml", "--store", "store", folder=study)
    first = rows(study / "store")
    more = SWEEP.replace("counts: [30], position_seeds: 1", "counts: [30, 60], position_seeds: 2") + "train_seeds: 2\n"
    (study / "sweep.yaml").write_text(more)
    said = apet("run", "sweep.yaml", "--store", "store", folder=study)
    assert "7 completed" in said
    assert "1 done before" in said
    attempts = Store(study / "store").attempts().to_pylist(maps_as_pydicts="strict")
    assert Counter(row["trial_id"] for row in attempts) == Counter(
        t.trial_id for t in Sweep.load(study / "sweep.yaml").trials()
    )
    ((trial_id, row),) = first.items()
    assert rows(study / "store")[trial_id] == row, "what was there stays as it was"
    assert "nothing to do" in apet("run", "sweep.yaml", "--store", "store", folder=study)


def test_resubmit_keeps_to_the_packs_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two sweeps with resources of their own, on more CPUs than that."""
    import ray

    module = importlib.import_module("orchestrator.results.resubmit")  # the package has a function of this name

    study = write_study(tmp_path / "study")
    source, _ = find_data("rotten_tomatoes", study / "data")
    store = Store(study / "store", create=True)
    trials = [trial(seed, steps=1, task=TaskRef("rotten_tomatoes", source)) for seed in range(10)]
    for seed, one in enumerate(trials):
        columns = {"weights_source": "random:tiny-bert", "data_source": "folder:data", "sweep": f"sweep-{seed % 2}"}
        store.append(record(one, state="failed", **columns))
    store.save_sweep("sweep-1", "resources: {pack_size: 1, retries: 0}\n")
    store.save_sweep("sweep-0", "resources: {pack_size: 1}\n")
    behave(store, {one.trial_id: "sleep:1" for one in trials})
    monkeypatch.setenv("PYTHONPATH", f"{SUPPORT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setattr(module, "execute", partial(execute, worker=WORKER))
    ray.init(address="local", num_cpus=6, include_dashboard=False, log_to_driver=False)
    try:
        summary = module.resubmit(store, max_concurrent=2, quiet=True)
    finally:
        ray.shutdown()
    assert (summary.asked, summary.completed) == (10, 10)
    again = [row for row in store.attempts().to_pylist() if row["attempt"] == 1]
    at_once = [sum(a["started_at"] <= b["started_at"] < a["finished_at"] for a in again) for b in again]
    assert max(at_once) == 2, at_once
    assert {row["data_source"] for row in again} == {"folder:data"}
