"""The store read by programs that know nothing of it: the Python blocks of docs/store.md, as they stand there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from paths import ROOT
from rows_for_tests import row, trial

from trials.store.store import Store

BLOCKS = {
    code.split("import ", 1)[1].split()[0]: code
    for code in re.findall(
        r"```python\n(.*?)```",
        (ROOT / "docs" / "store.md").read_text().split("## Reading it with other programs")[1].split("\n## ")[0],
        re.DOTALL,
    )
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Rows whose maps have different keys, no keys, and aren't there; the failed one's file may come first."""
    made = Store(tmp_path / "a store", create=True)
    made.append(row(trial(1), metrics={"f1": 0.5}, operations={"add": 1}, transfer={"rte": None}, versions={"a": "1"}))
    made.append(row(trial(2), metrics={"rouge1": 0.5, "rouge2": 0.25}, operations={"concat": 1, "plug": 3}))
    made.append(row(trial(3), metrics={}, operations={}, transfer={}, transfer_sources={}, versions={}))
    made.append(row(trial(4), state="failed", score=None))
    return made


def run(program: str, store: Store) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(BLOCKS[program].replace("STORE", store.uri), names)
    return names


def test_every_program_is_tried() -> None:
    assert set(BLOCKS) == {"pandas", "duckdb", "polars", "datasets"}


def test_pandas(store: Store) -> None:
    frame = run("pandas", store)["frame"].set_index("count_requested")
    assert frame["f1"].dropna().to_dict() == {1: 0.5}
    assert len(frame) == 4


def test_duckdb(store: Store) -> None:
    found = run("duckdb", store)["rows"].fetchall()
    assert sorted(f1 for _, _, f1 in found if f1 is not None) == [0.5]
    assert len(found) == 4


def test_polars(store: Store) -> None:
    pytest.importorskip("polars", reason="polars is not installed")
    frame = run("polars", store)["frame"].sort("count_requested")
    assert frame["f1"].to_list() == [0.5, None, None, None]
    assert frame["test_score"].to_list() == [0.5, 0.5, 0.5, None]


def test_datasets(store: Store) -> None:
    found = run("datasets", store)["dataset"].sort("count_requested")
    assert found["metrics"][:] == [
        [{"key": "f1", "value": 0.5}],
        [{"key": "rouge1", "value": 0.5}, {"key": "rouge2", "value": 0.25}],
        [],
        None,
    ]
    assert found["transfer"][0] == [{"key": "rte", "value": None}]
    assert found["test_score"][:] == [0.5, 0.5, 0.5, None]
