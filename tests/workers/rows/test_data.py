"""Rows as they are read, checked and cut: bad input, the rules of the splits, equal texts, real data."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from trials import tasks
from trials.errors import ApetError
from trials.sources import counts
from trials.trial import Source, TaskRef
from workers.rows import data, readers
from workers.rows.data import Splits, load_rows, text_key

REAL = os.environ.get("APET_DATA", "")


def write(folder: Path, rows: Sequence[Mapping[str, Any]], split: str = "train") -> None:
    (folder / f"{split}.jsonl").write_text("".join(json.dumps(dict(row)) + "\n" for row in rows))


def load(folder: Path, task: str, **limits: int) -> Splits:
    return load_rows(tasks.get(task), TaskRef(task, Source("folder", "x", "0"), **limits), f"folder:{folder}")


def example(task: str, **changed: Any) -> dict[str, Any]:
    return {**tasks.get(task).example, **changed}


@pytest.mark.parametrize("task", tasks.names())
def test_a_missing_column_is_named(task: str, tmp_path: Path) -> None:
    for column in tasks.get(task).needed:
        row = example(task)
        del row[column]
        write(tmp_path, [{"other": 1, **row}] * 20)
        with pytest.raises(ApetError, match=rf"train\.jsonl: no column {column}, needed by task {task}; found: other"):
            load(tmp_path, task)


@pytest.mark.parametrize("task", tasks.names())
def test_a_row_with_no_text_is_named(task: str, tmp_path: Path) -> None:
    columns = tasks.get(task).columns
    write(tmp_path, [example(task), example(task, **dict.fromkeys(columns, " "))])
    with pytest.raises(ApetError, match=rf"row 2, column {columns[0]}: no text; remove the row or fill it"):
        load(tmp_path, task)
    write(tmp_path, [example(task), example(task, **{columns[-1]: None})])
    with pytest.raises(ApetError, match=rf"row 2, column {columns[-1]}: None is no text"):
        load(tmp_path, task)


@pytest.mark.parametrize("label", [2, -1, 0.5, True, None])
def test_an_unknown_label_is_named_beside_the_known_ones(label: Any, tmp_path: Path) -> None:
    write(tmp_path, [example("rte")])
    write(tmp_path, [example("rte", label=label)], "test")
    with pytest.raises(ApetError, match=r"row 1, column label: unknown label .*0 \(entailment\), 1 \(not_entailment\)"):
        load(tmp_path, "rte")


@pytest.mark.parametrize("answer", [[], None, ["cat", " "], [""]])
def test_an_answer_that_is_none_is_named(answer: Any, tmp_path: Path) -> None:
    write(tmp_path, [example("nq_open")] * 20)
    write(tmp_path, [example("nq_open"), example("nq_open", answer=answer)], "validation")
    with pytest.raises(ApetError, match=r"validation\.jsonl, row 2, column answer: .* holds no answer.*nq_open"):
        load(tmp_path, "nq_open")


@pytest.mark.parametrize("summary", ["", None])
def test_a_summary_that_is_none_is_named(summary: Any, tmp_path: Path) -> None:
    write(tmp_path, [example("samsum"), example("samsum", summary=summary)])
    with pytest.raises(ApetError, match=r"row 2, column summary: .* holds no answer"):
        load(tmp_path, "samsum")


def test_an_empty_split_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, [example("samsum")] * 3)
    with pytest.raises(ApetError, match="leaves no row for validation; it needs 10 different texts or more"):
        load(tmp_path, "samsum")
    write(tmp_path, [example("samsum")] * 40)  # one text stays in one split
    with pytest.raises(ApetError, match="it needs 10 different texts or more"):
        load(tmp_path, "samsum")


def test_golds_are_a_text_or_a_list(tmp_path: Path) -> None:
    for answer, golds in (("cat", ("cat",)), (["cat", "dog"], ("cat", "dog"))):
        for split in ("train", "validation", "test"):
            write(tmp_path, [example("nq_open", answer=answer)], split)
        assert load(tmp_path, "nq_open").test.answers == [golds]
    (tmp_path / "test.jsonl").unlink()
    (tmp_path / "test.csv").write_text('question,answer\nwho,1984\nwhy,"[""a2"", ""b""]"\n')
    assert load(tmp_path, "nq_open").test.answers == [("1984",), ("a2", "b")]


@pytest.mark.parametrize("cell", ["['a2', 'b']", "[a2", '["a2", "b"'])
def test_a_list_in_a_csv_that_is_no_json_is_named(cell: str, tmp_path: Path) -> None:
    quoted = cell.replace('"', '""')
    (tmp_path / "train.csv").write_text(f'question,answer\nwho,me\nwhy,"{quoted}"\n')
    with pytest.raises(ApetError) as error:
        load(tmp_path, "nq_open")
    for part in ("train.csv, row 2, column answer", repr(cell), "no JSON list", '["a", "b"]', ".jsonl or .parquet"):
        assert part in str(error.value)


def test_a_text_in_a_csv_may_begin_with_a_bracket(tmp_path: Path) -> None:
    lines = [f"Anna: {i},[sic] she goes" for i in range(10)]
    (tmp_path / "train.csv").write_text("\n".join(["dialogue,summary", *lines]))
    assert load(tmp_path, "samsum").test.answers == [("[sic] she goes",)]


@pytest.mark.parametrize("label", ["²", "1.5", "-1", "1e400", "0x1", "1_0", ""])
def test_a_label_in_a_csv_that_is_none_is_named(label: str, tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(f"sentence,label\na film,1\nno film,{label}\n")
    with pytest.raises(ApetError, match=r"train\.csv, row 2, column label: unknown label .*0 \(negative\)"):
        load(tmp_path, "sst2")


def test_the_hubs_rows_without_text_are_left_out_and_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    chats = {"dialogue": [f"Anna: {i}" for i in range(20)], "summary": ["a summary"] * 20}
    broken = {"dialogue": ["", None, "Ben: hi"], "summary": ["empty", "none", ""]}
    whole = {name: chats[name] + broken[name] for name in chats}
    monkeypatch.setattr(readers, "read", lambda *_: {"train": (whole, "hub"), "test": (chats, "hub")})
    task = tasks.get("samsum")
    found = load_rows(task, TaskRef("samsum", Source("hub", "x", "0")), f"hub:{task.hub_id}@{task.revision}")
    assert (len(found.train) + len(found.validation), found.empty) == (20, 3)
    said = f"task samsum: left out 3 rows of hub:{task.hub_id}@{task.revision} that have no text or no answer"
    assert caplog.messages == [said]


def test_a_cut_is_at_most_a_tenth_and_a_thousand_rows(tmp_path: Path) -> None:
    write(tmp_path, [example("nq_open", question=f"who is {i}") for i in range(95)])
    assert [len(x) for x in _parts(load(tmp_path, "nq_open"))] == [77, 9, 9]
    write(tmp_path, [example("nq_open")], "validation")  # without a test the validation is it
    found = load(tmp_path, "nq_open")
    assert [len(x) for x in _parts(found)] == [86, 9, 1]
    assert found.test.texts == [(example("nq_open")["question"],)]


def test_equal_texts_stay_together(tmp_path: Path) -> None:
    spellings = ("Who is {}", "who is {}?", "WHO  IS {}!")
    write(tmp_path, [example("nq_open", question=s.format(i)) for i in range(100) for s in spellings])
    assert _shared(load(tmp_path, "nq_open")) == set()


def test_a_limit_is_a_prefix_of_one_shuffle(tmp_path: Path) -> None:
    write(tmp_path, [example("nq_open", question=f"who is {i}") for i in range(100)])
    few, more, every = (load(tmp_path, "nq_open", train_rows=n) for n in (5, 20, 1000))
    assert set(few.train.texts) < set(more.train.texts) < set(every.train.texts)
    assert few.test.texts == every.test.texts
    assert len(few.train) == 5


@pytest.mark.parametrize("task", tasks.names())
def test_no_text_of_real_data_stands_in_two_splits_that_we_cut(task: str) -> None:
    folder = Path(REAL) / task
    if not REAL or not folder.is_dir():
        pytest.skip(f"APET_DATA has no {task}")
    own = {path.name.split(".")[0] for path in folder.iterdir()}
    found = load(folder, task)
    assert found.empty == 0
    if own == {"train", "validation", "test"}:  # the source's splits stay as they are
        return
    train, validation = ({text_key(texts) for texts in part.texts} for part in (found.train, found.validation))
    assert train.isdisjoint(validation)
    total = len(found.train) + len(found.validation)
    room = min(counts.CUT_ROWS, total // counts.CUT_SHARE)
    assert 0.9 * room <= len(found.validation) <= room


def _parts(found: Splits) -> list[data.Rows]:
    return [found.train, found.validation, found.test]


def _shared(found: Splits) -> set[str]:
    keys = [{text_key(texts) for texts in part.texts} for part in _parts(found)]
    return (keys[0] & keys[1]) | (keys[0] & keys[2]) | (keys[1] & keys[2])
