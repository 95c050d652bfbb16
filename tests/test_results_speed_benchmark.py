"""``benchmarks/results_speed.py``: both of its stores say the same, and its last line is what it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import results_speed

import orchestrator
from trials.store.store import Store


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, values in {"SCALES": ("bert-small", "t5-small"), "TASKS": ("rte",), "COUNTS": (16, 1024)}.items():
        monkeypatch.setattr(results_speed, name, values)


@pytest.mark.usefixtures("few")
def test_a_compacted_store_and_one_of_small_files_have_the_same_results(tmp_path: Path) -> None:
    written = results_speed.study()
    assert len(written) == 2 * (3 + 3 * 2 * 3 * 2)
    stores = [
        make(tmp_path / name, written) for name, make in vars(results_speed).items() if name in ("compacted", "small")
    ]
    results_speed.out_of_cache(stores[1])
    assert len(list(stores[0].rglob("*.parquet"))) == 2
    assert len(list(stores[1].rglob("*.parquet"))) == 2 * len(written)
    for name in ("thresholds", "convergence"):
        one, other = (getattr(orchestrator, name)(Store(store)) for store in stores)
        assert one.rows() == other.rows()
    assert {row["seeds_min"] for row in orchestrator.thresholds(Store(stores[0])).rows()} == {3}


@pytest.mark.usefixtures("few")
def test_its_last_line_has_seconds_of_each(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(results_speed, "NAMES", ("transfer",))
    monkeypatch.setattr("sys.argv", ["results_speed.py", "--repeats", "1", "--small"])
    results_speed.main()
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(last) == {"rows", "digest", "compacted", "small_cold"}
    assert set(last["compacted"]["transfer"]) == {"process_s", "function_s", "again_s"}
