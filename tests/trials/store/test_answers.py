"""Answers below a store: of attempts that have a row, in files of their own or merged."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rows_for_tests import row, trial

from trials.store.answers import ANSWERS, Answered
from trials.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", create=True)


def test_answers_without_their_row_are_not_seen_and_merged_ones_are_found(store: Store) -> None:
    answered = {"sst2": Answered([1.0, 0.0], ["yes", "no"])}
    rows = [row(trial(n)) for n in (1, 2, 3)]
    for made in rows:
        store.append(made, None, answered)
    store.save_untrained("cafe", "sst2", answered["sst2"])
    (gone,) = Path(store.uri, "attempts").rglob(f"{rows[0]['attempt_id']}.parquet")
    gone.unlink()
    assert set(store.answers()["attempt_id"].to_pylist()) == {rows[1]["attempt_id"], rows[2]["attempt_id"]}
    small = [path for path in Path(store.uri, "answers").rglob("*.parquet") if path.parent.name != "untrained"]
    pq.write_table(pa.concat_tables(pq.read_table(path) for path in small), Path(store.uri, "answers", "all.parquet"))
    for path in small:
        path.unlink()
    found = Store(store.uri).answers_of(rows[1]["attempt_id"])
    assert found.schema.equals(ANSWERS)
    assert found.drop_columns(["trial_id", "attempt_id"]).to_pylist() == [
        {"task": "sst2", "row": 0, "score": 1.0, "answer": "yes"},
        {"task": "sst2", "row": 1, "score": 0.0, "answer": "no"},
    ]
    assert len(Store(store.uri).answers()) == 4
    assert Store(store.uri).untrained()["untrained_key"].to_pylist() == ["cafe"] * 2
    assert Store(store.uri).load_untrained("cafe", 2) == answered["sst2"], "it is looked up by its own name, not merged"
