"""Weights and data of the hub are downloaded once a machine, however many workers ask, and whichever of them dies."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hub_for_tests import SHA, Hub, hub
from paths import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
WORKERS = 8
WEIGHTS = ("models/someone/model", "model.safetensors")
ROWS = {name: b'{"text": "a film, %s", "label": 1}\n' % name.encode() * 9 for name in ("train", "validation", "test")}
REPOSITORIES = {
    "models/someone/model": {"config.json": b"{}", "model.safetensors": b"w" * 100_000},
    "datasets/someone/reviews": {f"{split}.jsonl": rows for split, rows in ROWS.items()},
}
ASK = f"""
from trials.backbones import get
from trials.tasks import get as task
from workers.backbone.pretrained import snapshot
from workers.rows.readers import _hub
folder = snapshot(get("tiny-bert"), "someone/model", {SHA!r})
found = _hub(task("rotten_tomatoes"), "someone/reviews", {SHA!r})
print((folder / "model.safetensors").stat().st_size, {{name: len(rows["text"]) for name, (rows, _) in found.items()}})
"""


def ask(place: Hub, home: Path) -> subprocess.Popen[str]:
    """A worker's process that wants a model and a data set."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": place.url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-c", ASK]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def test_eight_workers_ask_at_once_and_one_dies_in_the_middle(tmp_path: Path) -> None:
    with hub(REPOSITORIES, pause_s=2.0) as place:
        first = ask(place, tmp_path)
        end = time.monotonic() + 200
        while not place.sent[WEIGHTS]:
            assert time.monotonic() < end
            assert first.poll() is None
            time.sleep(0.05)
        others = [ask(place, tmp_path) for _ in range(WORKERS - 1)]
        first.kill()
        said = [other.communicate(timeout=400)[0] for other in others]
        first.communicate()
    assert [other.returncode for other in others] == [0] * (WORKERS - 1)
    assert set(said) == {"100000 {'train': 9, 'validation': 9, 'test': 9}\n"}
    assert place.sent[WEIGHTS] == 2, "the one that was cut, and once more"
    rows = {name: times for (repository, name), times in place.sent.items() if repository.startswith("datasets/")}
    assert rows == {f"{split}.jsonl": 1 for split in ROWS}
