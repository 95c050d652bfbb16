"""Rows that are too long are cut; the person is told: as it runs, of a trial, in the report."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from shell import apet

from orchestrator.driver.dispatch import Dispatch
from orchestrator.driver.display.connected import connect
from orchestrator.driver.display.display import display
from orchestrator.driver.display.tally import Tally
from orchestrator.planning.packing import Todo
from orchestrator.planning.stocks import Stocks
from trials.store.store import Store
from trials.sweep.sweep import Sweep
from workers.pack.progress import Progress
from workers.worker import Worker

SWEEP = """\
backbones: [{backbone}]
tasks: [{{name: rotten_tomatoes, data_dir: data}}]
methods: [bitfit]
train_seeds: 2
learning_rates: [1.0e-3]
training: {{steps: 2, batch_size: 4, eval_every: 1}}
"""
LONG, SPLITS = 3, {"train": 20, "validation": 5, "test": 5}


@pytest.fixture
def sweep_file(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Thirty reviews, three of each split far too long."""
    (tmp_path / "data").mkdir()
    for split, n in SPLITS.items():
        rows = [{"text": f"film {i} " + "and so on " * 200 * (i < LONG), "label": i % 2} for i in range(n)]
        (tmp_path / "data" / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = tmp_path / "sweep.yaml"
    path.write_text(SWEEP.format(backbone=getattr(request, "param", "tiny-bert")))
    return path


def run(sweep: Sweep, store: Store, quiet: bool = False) -> str:
    """Every trial in a pack of its own, in this process; what the driver says of them."""
    said = io.StringIO()
    todo = [Todo(trial, sweep.sources(trial)) for trial in sweep.trials()]
    dispatch = Dispatch(Stocks(todo), "run", 0, lambda _: None, lambda _: True, lambda *_: None)
    connect(dispatch, Tally(todo), display(quiet, said))
    worker = Worker(store)
    while pack := dispatch.next():
        for progress in worker.run(pack):
            dispatch.report(Progress.from_json(progress.to_json()))
    return said.getvalue()


@pytest.mark.parametrize("sweep_file", ["tiny-bert", "tiny-bloom", "tiny-t5"], indirect=True)
def test_cut_rows_are_said_while_it_runs_of_a_trial_and_in_the_report(sweep_file: Path, tmp_path: Path) -> None:
    sweep, store = Sweep.load(str(sweep_file)), Store(tmp_path / "store", create=True)
    name = sweep.trials()[0].backbone.name
    line = f"rotten_tomatoes on {name}: cut rows 9 of 30, longer than 128 tokens"
    said = run(sweep, store).splitlines()
    assert said.count(line) == 1  # two trials, two evaluations each
    assert said.index(line) == 1, "before the first trial ends"
    page = apet("show", sweep.trials()[0].trial_id, "--store", store.uri).stdout
    assert ["cut", "rows", "9", "of", "30"] in [line.split() for line in page.splitlines()]
    apet("report", "--store", store.uri, "--out", tmp_path / "page")
    (row,) = csv.DictReader((tmp_path / "page" / "data.csv").open())
    assert (row["backbone"], row["train_rows"], row["truncated_rows"], row["trials"]) == (name, "20", "9", "2")
    assert "What the trials read" in (tmp_path / "page" / "index.html").read_text()


def test_where_nothing_is_cut_or_nothing_is_wanted_the_run_says_nothing(sweep_file: Path, tmp_path: Path) -> None:
    sweep = Sweep.load(str(sweep_file))
    assert run(sweep, Store(tmp_path / "quiet", create=True), quiet=True) == ""
    for split in SPLITS:
        file = tmp_path / "data" / f"{split}.jsonl"
        file.write_text(file.read_text().replace("and so on ", ""))
    assert "cut rows" not in run(Sweep.load(str(sweep_file)), Store(tmp_path / "store", create=True))


@pytest.mark.cluster
def test_the_command_line_says_it_on_stderr(sweep_file: Path, tmp_path: Path) -> None:
    result = apet("run", sweep_file, "--store", tmp_path / "store", "--max-concurrent", 1)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.count("rotten_tomatoes on tiny-bert: cut rows 9 of 30, longer than 128 tokens\n") == 1
