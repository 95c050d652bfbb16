"""Encoded splits on disk: found again, keyed by content, rebuilt when damaged, never needed."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from encodings_for_tests import encoding

from trials.trial import Source, TaskRef
from workers.rows import cache, data
from workers.rows.batches import stream
from workers.rows.encode import Dataset
from workers.rows.warm import splits

GOLDS = [{"question": f"who is number {i}", "answer": [f"cat {i}", "dog"]} for i in range(40)]
PAIRS = [{"sentence1": f"cat {i}", "sentence2": "dog " * i, "label": i % 2} for i in range(40)]
REF = {"nq_open": GOLDS, "mrpc": PAIRS}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("APET_CACHE", str(tmp_path / "cache"))
    for task, rows in REF.items():
        (tmp_path / task).mkdir()
        (tmp_path / task / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def read(folder: Path, task: str = "nq_open", backbone: str = "tiny-t5", **limits: int) -> list[Dataset]:
    how = encoding(task, backbone)
    return splits(how.task, TaskRef(task, Source("folder", "x", "0"), **limits), f"folder:{folder / task}", how)


def entries(folder: Path) -> list[Path]:
    return sorted((folder / "cache" / "encoded").iterdir())


def same(a: Dataset, b: Dataset) -> bool:
    one, two = next(stream(a, 0, 4)), next(stream(b, 0, 4))
    equal = {name: bool((x == two.tensors[name]).all()) for name, x in one.tensors.items()}
    facts = [(x.rows.answers, x.rows.digest, x.rows.truncated, x.rows.truncated_in_training) for x in (a, b)]
    return all(equal.values()) and one.rows == two.rows and facts[0] == facts[1] and len(a) == len(b)


def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "load_rows", lambda *_: pytest.fail("read again"))


@pytest.mark.parametrize(
    ("task", "backbone"),
    [("nq_open", "tiny-t5"), ("nq_open", "tiny-bloom"), ("mrpc", "tiny-bert"), ("mrpc", "tiny-t5")],
)
def test_a_second_time_nothing_is_read(folder: Path, task: str, backbone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read(folder, task, backbone)
    assert len(entries(folder)) == 3
    unread(monkeypatch)
    for a, b in zip(first, read(folder, task, backbone), strict=True):
        assert same(a, b)
        assert (a.rows.masks is None) == (b.rows.masks is None)
        if a.rows.masks is not None and b.rows.masks is not None:
            assert np.array_equal(a.rows.masks, b.rows.masks)


def test_a_copy_elsewhere_is_the_same_data(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read(folder)
    shutil.copytree(folder / "nq_open", folder / "else" / "nq_open")
    unread(monkeypatch)
    assert same(first[0], read(folder / "else")[0])


def test_another_tokenizer_limit_length_or_row_is_another_entry(folder: Path) -> None:
    read(folder)
    read(folder, backbone="tiny-bloom")
    read(folder, train_rows=5)
    assert len(entries(folder)) == 9
    path = folder / "nq_open" / "train.jsonl"
    path.write_text(path.read_text().replace("cat 7", "cow 7"))
    found = read(folder)
    assert len(entries(folder)) == 12
    assert any("cow 7" in golds for part in found for golds in part.rows.answers)  # type: ignore[operator]


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def _flipped(path: Path) -> None:
    encoded, raw = cache.load(path.stem), bytearray(path.read_bytes())
    assert encoded is not None
    raw[raw.find(encoded.inputs.values[:4].tobytes())] ^= 1  # another token, in a file that opens
    path.write_bytes(bytes(raw))


def _empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [_truncated, _flipped, _empty])
def test_a_damaged_entry_is_built_again(folder: Path, damage: Callable[[Path], None]) -> None:
    first = read(folder)
    for path in entries(folder):
        damage(path)
    again = read(folder)
    assert all(same(a, b) for a, b in zip(first, again, strict=True))
    assert all(cache.load(path.stem) is not None for path in entries(folder))


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(folder: Path) -> None:
    (folder / "cache").write_text("a file where the cache should be")
    assert same(read(folder)[0], read(folder)[0])


def _build(folder: str, ready: Any, out: Any) -> None:
    ready.wait()
    out.put([part.rows.digest for part in read(Path(folder))])


def test_two_processes_that_build_it_at_once_both_win(folder: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready, out = context.Barrier(2), context.Queue()
    both = [context.Process(target=_build, args=(str(folder), ready, out)) for _ in range(2)]
    for process in both:
        process.start()
    assert out.get(timeout=120) == out.get(timeout=120)
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    assert [path.suffix for path in entries(folder)] == [".arrow"] * 3  # nothing half-written is left
