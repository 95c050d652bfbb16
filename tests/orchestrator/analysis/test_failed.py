"""Failed seeds are left out of thresholds and report, and both say so: how many, of which counts, and why."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from shell import apet as command
from study_rows import apet, curve, full, row, trial, write

from orchestrator.analysis.failed import by_class, with_failed
from orchestrator.analysis.table import Thresholds
from orchestrator.analysis.thresholds import thresholds
from orchestrator.reporting.report import report
from trials.store.record import Record
from trials.store.store import Store
from trials.trial import Method

COUNTS = (16, 64, 256)


def fail(made: Record, why: str | None, **columns: object) -> Record:
    """The row of a worker that never built the module."""
    nothing = dict.fromkeys(("test_score", "validation_score", "count_actual", "chance", "majority", "test_rows"))
    return made | nothing | {"state": "failed", "failure_class": why, "error_class": "Error", **columns}


def study() -> list[Record]:
    """Nine seeds of a curve, of which four failed, and three runs of full fine-tuning, of which one did."""
    rows = curve({16: [0.5, 0.51, 0.5], 64: [0.9, 0.9, 0.91], 256: [0.9, 0.91, 0.9]})
    for place, why in ((0, "out_of_memory"), (6, "bad_input"), (7, "bad_input"), (8, None)):
        rows[place] = fail(rows[place], why)
    whole = full([0.91, 0.9, 0.92])
    return [*rows, *whole[:2], fail(whole[2], "out_of_memory")]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return write(tmp_path / "store", study())


def said(found: Thresholds) -> tuple[str, ...]:
    """What is said of seeds; that there is one head is another matter."""
    (one,) = found.curves
    return tuple(note for note in one.curve.notes if "head" not in note)


RERUN = "`apet show TRIAL` says why, `apet resubmit` reruns failed trials"
LOST = "4 without a result, left out (failed: 2 bad_input, 1 of no known class, 1 out_of_memory), at 16 (1 of 3), "
NOTES = (LOST + f"256 (3 of 3): {RERUN}", f"1 of full fine-tuning failed, left out (1 out_of_memory): {RERUN}")
OVERALL = (
    "5 failed trials left out (4 of count curves, 1 of full fine-tuning): 2 bad_input, 2 out_of_memory, "
    "1 of no known class"
)


def test_thresholds_say_how_many_seeds_failed_and_why(store: Store) -> None:
    found = thresholds(store)
    assert said(found) == NOTES
    assert found.notes == (OVERALL,)
    (line,) = found.rows()
    assert (line["failed"], line["counts"], line["seeds_min"], line["seeds_max"], line["full_runs"]) == (4, 2, 2, 3, 2)
    shown = command("thresholds", "--store", store.uri)
    words = " ".join(shown.stdout.split())
    assert all(f"note: {note}" in words for note in (*NOTES, OVERALL))
    as_json = json.loads(command("thresholds", "--store", store.uri, "--json").stdout)
    assert as_json["notes"] == [OVERALL]
    assert as_json["curves"][0]["notes"].startswith("; ".join(NOTES))


def test_failed_seeds_change_no_number(tmp_path: Path, store: Store) -> None:
    without = write(tmp_path / "without", [one for one in study() if one["state"] != "failed"])
    with_them, alone = (thresholds(one).curves[0] for one in (store, without))
    assert (with_them.low, with_them.collapsed) == (alone.low, alone.collapsed)
    assert with_them.high.reason.replace(", 1 failed", "") == alone.high.reason
    assert thresholds(without).notes == said(thresholds(without)) == ()


def test_a_curve_that_failed_as_a_whole_is_not_gone(tmp_path: Path) -> None:
    rows = [fail(one, "bad_input") for one in [*curve({n: [0.5, 0.5] for n in COUNTS}), *full([0.9, 0.9])]]
    found = thresholds(write(tmp_path / "store", rows))
    (one,) = found.curves
    assert (one.curve.counts, one.curve.failed) == (COUNTS, 6)
    assert "no run has a test score: `apet status` says what is failed" in one.low.reason
    assert one.high.reason == one.low.reason
    other = write(tmp_path / "other", [*curve({64: [0.9, 0.9]}), *rows[-2:]])
    assert "no full fine-tuning run with these settings, 2 failed: run" in thresholds(other).curves[0].high.reason


def test_a_failure_at_a_rate_that_was_not_selected_is_no_missing_seed(tmp_path: Path) -> None:
    good = curve({64: [0.9, 0.9, 0.91]}, rate=1e-2)
    bad = [fail(one, "out_of_memory") for one in curve({64: [0.5, 0.5, 0.5]}, rate=1e-3)]
    assert said(thresholds(write(tmp_path / "selected", [*good, *bad]))) == ()
    both = [fail(one, "out_of_memory") for one in good]
    table = with_failed(write(tmp_path / "none", [*both, *bad]).trials())
    assert sorted(table["position_seed"].to_pylist()) == [0, 1, 2]
    retried = [*good, fail(good[0], "preempted", attempt=1, attempt_id=f"{good[0]['trial_id']}-1-0000beef")]
    assert said(thresholds(write(tmp_path / "retried", retried))) == ()


def test_a_condition_and_a_trained_head_leave_their_failures_out_too(tmp_path: Path, store: Store) -> None:
    found = thresholds(store, where="count_requested = 16")
    assert said(found)[0].startswith("1 without a result, left out (failed: 1 out_of_memory), at 16 (1 of 3): ")
    heads = [fail(one, "bad_trial") for one in curve({64: [0.5]}, head="trained")]
    assert not any("failed" in note for note in thresholds(write(tmp_path / "heads", heads)).notes)


def test_many_counts_are_not_all_named(tmp_path: Path) -> None:
    rows = [row(trial(apet(count)), 0.5) for count in range(1, 12)]
    found = thresholds(write(tmp_path / "store", [fail(one, "bad_trial") for one in rows]))
    assert "at 1 (1 of 1), " in said(found)[0]
    assert "8 (1 of 1), 3 more counts: " in said(found)[0]


def test_the_report_says_it_too(store: Store, tmp_path: Path) -> None:
    page = report(store, tmp_path / "out").read_text()
    for note in (*NOTES, OVERALL):
        assert note in page
    shown = pd.read_csv(tmp_path / "out" / "failures.csv", keep_default_na=False)
    assert dict(zip(shown["failure_class"], shown["trials"], strict=True)) == {
        "bad_input": 2,
        "out_of_memory": 2,
        "": 1,
    }
    assert "mend the weights or data and run the sweep again" in page
    fine = write(tmp_path / "fine", [row(trial(Method("bitfit")), 0.5)])
    report(fine, tmp_path / "fine-out")
    assert not (tmp_path / "fine-out" / "failures.csv").exists()


def test_classes_come_largest_first() -> None:
    names = ["preempted", "bad_trial", None, "bad_trial"]
    assert by_class({"failure_class": name} for name in names) == "2 bad_trial, 1 of no known class, 1 preempted"
