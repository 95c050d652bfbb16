"""Arrow arrays made without pandas: those that pyarrow itself makes, and no command that reads a store imports it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from study_rows import study, write

from trials.store import arrays

TEXTS = ["", "ä", "one", "日本", "one"]


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 1000])
def test_arrays_are_those_of_pyarrow(n: int) -> None:
    rng = np.random.default_rng(n)
    mask, numbers = rng.random(n) < 0.5, rng.integers(-(2**40), 2**40, n)
    texts = [TEXTS[i] for i in rng.integers(0, len(TEXTS), n)]
    several = [rng.random(k).tolist() for k in rng.integers(0, 3, n)]
    for mine, theirs in (
        (arrays.booleans(mask), pa.array(mask, pa.bool_())),
        (arrays.booleans(mask.tolist()), pa.array(mask, pa.bool_())),
        (arrays.integers(numbers), pa.array(numbers, pa.int64())),
        (arrays.integers(range(n)), pa.array(range(n), pa.int64())),
        (arrays.texts(texts), pa.array(texts, pa.string())),
        (arrays.lists(several), pa.array(several, pa.list_(pa.float64()))),
    ):
        mine.validate(full=True)
        assert mine.equals(theirs)


@pytest.mark.parametrize("chunks", [[], [[]], [["b", "a"]], [["b", "a", "b"], [], ["c", "a"]]])
def test_codes_are_equal_where_values_are(chunks: list[list[str]]) -> None:
    column = pa.chunked_array([pa.array(some, pa.string()) for some in chunks], pa.string())
    for some in (column, column.slice(1)):
        values, codes = some.to_pylist(), arrays.codes(some).tolist()
        assert codes == [list(dict.fromkeys(values)).index(value) for value in values]


def test_rows_among_some_values() -> None:
    column = pa.chunked_array([["a", None, "b", "c"]])
    assert arrays.among(column, {"a", "c"}).to_pylist() == [True, False, False, True]
    assert arrays.positions(pa.array([3, 1, 2], pa.uint64()).slice(1)).tolist() == [1, 2]


@pytest.mark.parametrize("command", ["thresholds", "convergence", "status"])
def test_no_command_imports_pandas_to_read_a_store(command: str, tmp_path: Path) -> None:
    store = write(tmp_path / "store", study()[:40])
    code = (
        "import sys\nfrom orchestrator.cli import app\n"
        f"app(['{command}', '--store', {store.uri!r}, '--json'], standalone_mode=False)\n"
        "print('pandas' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stderr.strip() == "False"
