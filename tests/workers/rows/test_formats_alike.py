"""JSON lines, CSV and Parquet mean the same, and ``plan`` and a worker say the same of them."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trials import tasks
from trials.errors import ApetError
from trials.sources.locations import find_data
from trials.trial import Source, TaskRef
from workers.rows.data import load_rows

FORMATS = ("train.jsonl", "train.jsonl.gz", "train.csv", "train.parquet")
TEXTS = [f"a film, number {i}" for i in range(20)]


def write(path: Path, labels: Sequence[Any], names: Sequence[str] = ("sentence", "label"), start: str = "") -> Path:
    """Rows of SST-2 in the format of a file's name; a name that is there twice has the labels twice."""
    columns = [TEXTS, *[labels] * (len(names) - 1)]
    rows = list(zip(*columns, strict=True))
    if path.suffix == ".parquet":
        pq.write_table(pa.table([pa.array(column) for column in columns], names=list(names)), path)
        return path
    if path.suffix == ".csv":
        out = io.StringIO(newline="")
        csv.writer(out).writerows([names, *rows])
        text = out.getvalue()
    else:
        text = "".join(
            "{" + ", ".join(f"{json.dumps(n)}: {json.dumps(v)}" for n, v in zip(names, row, strict=True)) + "}\n"
            for row in rows
        )
    data = (start + text).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def outcomes(folder: Path, task: str = "sst2") -> tuple[str, list[Any]]:
    """What ``plan`` says, which must be what a worker says; and the answers, where all is well."""
    planned, answers = "", []
    worked = ""
    try:
        find_data(task, folder)
    except ApetError as error:
        planned = str(error)
    try:
        found = load_rows(tasks.get(task), TaskRef(task, Source("folder", "x", "0")), f"folder:{folder}")
        answers = [*found.train.answers, *found.validation.answers, *found.test.answers]
    except ApetError as error:
        worked = str(error)
    assert worked == planned
    return planned, answers


@pytest.mark.parametrize("name", FORMATS)
def test_a_byte_order_mark_is_no_part_of_a_name(name: str, tmp_path: Path) -> None:
    write(tmp_path / name, [0, 1] * 10, start="\ufeff")
    assert sorted(outcomes(tmp_path)[1]) == [0] * 10 + [1] * 10


@pytest.mark.parametrize("name", FORMATS)
def test_a_label_with_a_point_is_its_number(name: str, tmp_path: Path) -> None:
    write(tmp_path / name, [0.0, 1.0] * 10)
    said, answers = outcomes(tmp_path)
    assert said == ""
    assert sorted(answers) == [0] * 10 + [1] * 10
    assert all(type(answer) is int for answer in answers)


@pytest.mark.parametrize("label", [1.5, 2, -1, None, 1e300])
@pytest.mark.parametrize("name", FORMATS)
def test_a_wrong_label_is_named_with_its_row(name: str, label: Any, tmp_path: Path) -> None:
    path = write(tmp_path / name, [0] * 19 + [label])
    said, _ = outcomes(tmp_path)
    assert f"{path}, row 20, column label: unknown label" in said
    assert "labels of sst2: 0 (negative), 1 (positive)" in said
    assert ("nobody labelled: leave such rows out" in said) == (label == -1)


@pytest.mark.parametrize("names", [("sentence", "label", "label"), ("sentence", "label", "other", "label")])
@pytest.mark.parametrize("name", FORMATS)
def test_a_column_that_is_there_twice_is_refused(name: str, names: tuple[str, ...], tmp_path: Path) -> None:
    path = write(tmp_path / name, [0, 1] * 10, names)
    assert outcomes(tmp_path)[0] == f"{path}: column label is there 2 times; keep one"


@pytest.mark.parametrize("name", FORMATS)
def test_other_columns_may_repeat(name: str, tmp_path: Path) -> None:
    write(tmp_path / name, [0, 1] * 10, ("sentence", "label", "x", "x"))
    assert len(outcomes(tmp_path)[1]) == 20


def test_a_key_that_a_later_row_has_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "train.jsonl", [0, 1] * 10)
    path.write_text(path.read_text() + '{"sentence": "x", "label": 0, "label": 1}\n')
    assert outcomes(tmp_path)[0] == f"{path}, row 21: label is there 2 times; keep one"


@pytest.mark.parametrize("name", FORMATS)
def test_a_test_file_that_nobody_labelled_may_be_left_out(name: str, tmp_path: Path) -> None:
    """As GLUE's are downloaded."""
    for split in ("train", "validation"):
        write(tmp_path / name.replace("train", split), [0, 1] * 10)
    path = write(tmp_path / name.replace("train", "test"), [-1] * 20)
    said, _ = outcomes(tmp_path)
    for part in (
        f"{path}, row 1, column label: unknown label -1; labels of sst2: 0 (negative), 1 (positive)",
        "take the test file out of the folder, and validation is the test split",
    ):
        assert part in said
    path.unlink()
    assert outcomes(tmp_path)[0] == ""


@pytest.mark.parametrize("name", ["train.jsonl", "train.csv"])
def test_lines_may_end_as_on_windows_or_in_blanks(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, [0, 1] * 10)
    text = path.read_bytes().replace(b"\r\n", b"\n")
    path.write_bytes(text.replace(b"\n", b"\r\n") + b"\r\n  \r\n\n")
    assert len(outcomes(tmp_path)[1]) == 20


@pytest.mark.parametrize("name", ["train.jsonl", "train.csv"])
def test_text_that_is_not_utf_8_is_named(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, [0, 1] * 10)
    path.write_bytes(path.read_text().encode("utf-16"))
    assert outcomes(tmp_path)[0] == f"{path}: can't be read: not UTF-8 text (byte 0); save it as UTF-8"


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("train.jsonl", '{"sentence": "a", "label": 0}\n[1]\n', "line 2 is no JSON object: '[1]'"),
        ("train.jsonl", '{"sentence": "a", "label": 0}\n{"sent\n', "line 2 is no JSON object"),
        ("train.jsonl", '{"sentence": "a", "label": 0}\n' + "[" * 5000 + "\n", "line 2 is no JSON object"),
        ("train.jsonl", '{"sentence": "a", "label": ' + "9" * 5000 + "}\n", "line 1 is no JSON object"),
        ("train.jsonl", '{"sentence": "a", "label": "1"}\n', "row 1, column label: unknown label '1'"),
        ("train.jsonl", '{"sentence": "a", "label": true}\n', "row 1, column label: unknown label True"),
        ("train.jsonl", '{"sentence": "a", "label": 1e400}\n', "row 1, column label: unknown label inf"),
        ("train.jsonl", '{"sentence": "a", "label": NaN}\n', "row 1, column label: unknown label nan"),
        ("train.jsonl", '{"sentence": 1984, "label": 0}\n', "row 1, column sentence: 1984 is no text"),
        ("train.jsonl", '{"sentence": "\\ud800", "label": 0}\n', "row 1, column sentence: '\\ud800' is no text"),
        ("train.jsonl", '{"sentence": " ", "label": 0}\n', "row 1, column sentence: no text"),
        ("train.csv", "sentence,label\na,0\nb, or not,1\n", "row 2 (line 3): 3 cells, and the header has 2"),
        ("train.csv", "sentence,label\na,0\nb\n", "row 2, column label: unknown label None"),
        ("train.csv", 'sentence,label\na,0\n"b,1\nc,1\n', "line 4: unexpected end of data"),
        ("train.csv", f"sentence,label\na,{'9' * 5000}\n", "row 1, column label: unknown label inf"),
        ("train.csv", "sentence,label\na,nan\n", "row 1, column label: unknown label 'nan'"),
    ],
)
def test_rows_that_are_none(name: str, text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    said = outcomes(tmp_path)[0]
    assert str(tmp_path / name) in said
    assert says in said


def test_a_cell_may_be_long_and_hold_lines(tmp_path: Path) -> None:
    text = 'an "article",\nof many lines\r\n' * 10_000
    with (tmp_path / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("document", "summary"), *((f"{i} {text}", "short") for i in range(10))])
    assert outcomes(tmp_path, "multi_news")[1] == [("short",)] * 10
    found = load_rows(tasks.get("multi_news"), TaskRef("multi_news", Source("folder", "x", "0")), f"folder:{tmp_path}")
    assert found.test.texts[0][0].endswith(text)


def test_a_file_that_was_checked_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APET_CACHE", str(tmp_path / "cache"))
    path = write(tmp_path / "train.jsonl", [0, 1] * 10)
    find_data("sst2", tmp_path)
    monkeypatch.setattr("trials.sources.checks.rows_of", lambda *_: pytest.fail("read again"))
    find_data("sst2", tmp_path)
    monkeypatch.undo()
    monkeypatch.setenv("APET_CACHE", str(tmp_path / "cache"))
    path.write_text(path.read_text().replace('"label": 1', '"label": 7'))
    with pytest.raises(ApetError, match="unknown label 7"):
        find_data("sst2", tmp_path)
