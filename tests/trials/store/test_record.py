"""Rows: the whole typed schema, whatever is null."""

from __future__ import annotations

import io
import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rows_for_tests import point, row, trial

from trials.canonical import digest
from trials.store.record import (
    CURVES,
    IDENTITY,
    MEASURED,
    SCHEMA,
    SCHEMA_VERSION,
    attempt_table,
    curve_table,
    identity,
    new_attempt_id,
    record,
)
from trials.trial import Trial


def test_identity_and_measured_are_the_identity_columns() -> None:
    told = set(identity(trial()))
    assert told | set(MEASURED) == set(IDENTITY.names)
    assert not told & set(MEASURED)


def test_a_row_rebuilds_its_trial() -> None:
    made = record(trial(64, seed=3), state="failed", error_class="ValueError")
    assert made.keys() == set(SCHEMA.names)
    assert digest(made["spec"]) == made["trial_id"]
    assert Trial.from_spec(made["spec"]) == trial(64, seed=3)
    assert (made["count_requested"], made["position_seed"], made["weights"]) == (64, 3, "random")
    assert made["schema_version"] == SCHEMA_VERSION
    assert made["test_score"] is None


def test_weights_may_turn_out_otherwise() -> None:
    assert record(trial(), weights="pretrained")["weights"] == "pretrained"


@pytest.mark.parametrize("name", ["accuracy", "trial_id", "spec", "schema_version"])
def test_other_columns_are_refused(name: str) -> None:
    with pytest.raises(AssertionError):
        record(trial(), **{name: 1})


def test_attempt_ids_are_new() -> None:
    ids = {new_attempt_id("ab", 1) for _ in range(100)}
    assert len(ids) == 100
    assert all(name.startswith("ab-1-") for name in ids)
    assert record(trial(), attempt=2)["attempt_id"].startswith(f"{trial().trial_id}-2-")


def test_nan_is_missing() -> None:
    made = row(score=math.nan, train_loss=math.inf, metrics={"f1": math.nan, "rouge1": 0.25})
    table = attempt_table(made)
    assert table["test_score"].to_pylist() == [None]
    assert table["train_loss"].to_pylist() == [math.inf]
    assert table["metrics"].to_pylist() == [[("f1", None), ("rouge1", 0.25)]]
    assert curve_table(made, [point(1, math.nan)])["value"].to_pylist() == [None]


@pytest.mark.parametrize("columns", [{"state": None}, {"state": "running"}, {"attempt_id": "someone-elses"}])
def test_a_row_that_is_not_over_or_not_its_own_is_refused(columns: dict[str, str | None]) -> None:
    with pytest.raises(AssertionError):
        attempt_table({**row(), **columns})


def test_types_survive_a_file_without_arrows_own_schema() -> None:
    for table in (attempt_table(row()), attempt_table(row(operations={"add": 3}, transfer={}, versions={"a": "1"}))):
        sink = io.BytesIO()
        pq.write_table(table, sink, store_schema=False)
        assert pq.read_table(pa.BufferReader(sink.getvalue())).schema.equals(SCHEMA)


def test_curves_carry_their_ids() -> None:
    made = row()
    table = curve_table(made, [point(1), point(2)])
    assert table.schema.equals(CURVES)
    assert table["attempt_id"].to_pylist() == [made["attempt_id"]] * 2
    with pytest.raises(AssertionError):
        curve_table(made, [{"steps": 1}])
