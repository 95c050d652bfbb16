"""A store of an older schema is read as ever: what its rows lack is null."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shell import apet, row, small, stored

from orchestrator import query
from trials.store.record import SCHEMA
from trials.store.store import Store
from trials.sweep.sweep import Sweep

LACKS = {1: ["failure_class", "ranks", "micro_batch", "threads", "recompute"], 2: ["recompute"]}  # by schema


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two rows of schema 1 and one of schema 2, written as files of then, and one of today."""
    made, trials = stored(tmp_path)
    paths = sorted(Path(made.uri, "attempts").rglob("*.parquet"), key=lambda path: trials[2].trial_id in path.name)
    for path, schema in zip(paths, (1, 1, 2), strict=True):
        old = pq.read_table(path).drop_columns(LACKS[schema])
        place = old.schema.get_field_index("schema_version")
        pq.write_table(old.set_column(place, "schema_version", pa.array([schema])), path)
    made.append(row(trials[3], "failed", failure_class="out_of_memory", ranks=1, threads=2, recompute=True))
    return Store(made.uri)


def test_rows_have_every_column(store: Store) -> None:
    table = query(store, "select * from attempts order by schema_version, state")
    assert table.column_names == SCHEMA.names
    assert table["schema_version"].to_pylist() == [1, 1, 2, 4]
    said = [table[name].to_pylist() for name in ("failure_class", "ranks", "recompute")]
    assert said == [[None] * 3 + [last] for last in ("out_of_memory", 1, True)]
    found = query(
        store, "select failure_class, count(*) as n from trials where state = 'failed' group by all order by 1"
    )
    assert found.to_pylist() == [{"failure_class": "out_of_memory", "n": 1}, {"failure_class": None, "n": 1}]
    for view in ("selected", "curves", "transfers"):
        assert query(store, f"select count(*) as n from {view}")["n"].to_pylist()[0] >= 0


def test_every_reader_takes_them(store: Store, tmp_path: Path) -> None:
    trials = Sweep.load(small(tmp_path)).trials()
    total = json.loads(apet("status", "--store", store.uri, "--json").stdout)["total"]
    assert total["failures"] == {"out_of_memory": 1, "unknown": 1}
    old = apet("show", trials[1].trial_id, "--store", store.uri).stdout
    assert "\nerror: ValueError: no such luck\n" in old
    assert f"to run it alone\n  apet resubmit --store {store.uri}" in old
    assert "ValueError" in apet("show", trials[1].trial_id, "--store", store.uri, "--json").stdout
    assert apet("thresholds", "--store", store.uri).exit_code == 0
    assert apet("plan", small(tmp_path), "--store", store.uri).exit_code == 0
    assert apet("report", "--store", store.uri, "--out", tmp_path / "out").exit_code == 0
