"""``benchmarks/carry.py``: a sweep in a folder that may lie anywhere, and its store in one file."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import carry
import pytest
from folders_for_tests import write_rows

from trials import Store, Sweep
from trials.errors import ApetError

ROWS = [{"text": f"a {word} film {n}", "label": label} for n in range(4) for label, word in enumerate(("dull", "fine"))]
SWEEP = """
name: carried
backbones: [tiny-bert, tiny-t5]
tasks: [{name: rotten_tomatoes, data_dir: reviews}]
methods: [lora, {method: apet, counts: [32]}]
learning_rates: [1.0e-2]
training: {steps: 2, batch_size: 4}
"""


def sweep(tmp_path: Path) -> Sweep:
    for split in ("train", "validation", "test"):
        write_rows(tmp_path / "reviews" / f"{split}.jsonl", ROWS)
    return Sweep.parse(SWEEP, folder=tmp_path)


def test_a_sweep_is_carried_run_elsewhere_and_brought_back(tmp_path: Path, capsys: Any) -> None:
    made = sweep(tmp_path)
    packs = carry.pack(made, tmp_path / "here" / "dir")
    there = (tmp_path / "here").rename(tmp_path / "there") / "dir"
    (tmp_path / "reviews").rename(tmp_path / "gone")
    assert carry.run(there, tmp_path / "none.tar.gz", seconds=-1) == 0
    assert carry.run(there, tmp_path / "out.tar.gz", seconds=60) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [sorted(line) for line in lines] == [["pack", "skipped"]] * packs + [
        ["exit", "pack", "seconds", "trials"]
    ] * packs
    with tarfile.open(tmp_path / "out.tar.gz") as archive:
        archive.extractall(tmp_path / "store", filter="data")
    rows = Store(tmp_path / "store").trials().to_pylist()
    assert {row["trial_id"] for row in rows} == {trial.trial_id for trial in made.trials()}
    assert {(row["state"], row["sweep"]) for row in rows} == {("completed", "carried")}
    assert carry.run(there, tmp_path / "out.tar.gz", seconds=60) == 0
    assert not capsys.readouterr().out, "all is done"


def test_what_is_in_no_folder_is_not_carried(tmp_path: Path) -> None:
    text = SWEEP.replace("[tiny-bert, tiny-t5]", "[quickstart-l3]").replace("{name: rotten_tomatoes, ", "{name: imdb, ")
    sweep(tmp_path)
    with pytest.raises(ApetError, match=r"package:.* isn't carried; give a folder"):
        carry.pack(Sweep.parse(text, folder=tmp_path), tmp_path / "dir")
