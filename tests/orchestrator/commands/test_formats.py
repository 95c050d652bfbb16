"""Rows in four formats, each read back by another program: every type of DuckDB, every name, every number."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shell import apet, stored
from typer.testing import Result

from orchestrator.commands import rows as printed
from orchestrator.results.columns import answer, unique
from orchestrator.results.query import query
from trials.store.store import Store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return stored(tmp_path_factory.mktemp("store"))[0]


def ask(store: Store, sql: str, form: str) -> Result:
    result = apet("query", sql, "--store", store.uri, "--format", form)
    assert result.exit_code == 0, result.output
    return result


def strict(text: str) -> Any:
    """JSON as the standard has it: no NaN, no name twice; fractions with all their digits."""

    def refuse(constant: str) -> Any:
        raise AssertionError(f"{constant} is no JSON")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs), f"a name twice: {pairs}"
        return dict(pairs)

    return json.loads(text, parse_constant=refuse, object_pairs_hook=once, parse_float=Decimal)


def lines(text: str) -> list[list[str]]:
    """CSV, every line as long as the header."""
    found = list(csv.reader(io.StringIO(text), strict=True))
    assert {len(line) for line in found} == {len(found[0])}
    return found


SAME = "select trial_id, 1 as n, 2 as n, state as trial_id, 3 as N, 4 as n_2 from trials order by all limit 2"
NAMES = ["trial_id", "n", "n_3", "trial_id_2", "N_4", "n_2"]


def test_one_name_twice_is_two_columns_and_said(store: Store) -> None:
    first = store.trials()["trial_id"][0].as_py(), store.trials()["state"][0].as_py()
    values = [first[0], 1, 2, first[1], 3, 4]
    table = ask(store, SAME, "table")
    assert [table.stdout.splitlines()[0].split(), table.stdout.splitlines()[1].split()] == [NAMES, [*map(str, values)]]
    assert "n is n_3, trial_id is trial_id_2, N is N_4; name them yourself with AS" in table.stderr
    assert lines(ask(store, SAME, "csv").stdout)[:2] == [NAMES, [*map(str, values)]]
    assert list(strict(ask(store, SAME, "json").stdout)[0].items()) == list(zip(NAMES, values, strict=True))
    parquet = pq.read_table(io.BytesIO(ask(store, SAME, "parquet").stdout_bytes))
    assert (parquet.column_names, [column[0].as_py() for column in parquet.columns]) == (NAMES, values)
    assert ask(store, "select trial_id, state from trials", "csv").stderr == ""


def test_no_two_names_are_equal() -> None:
    for names in (["a", "a", "a"], ["a", "A", "a_2", "a"], ["a_2", "a", "a"], ["ß", "ss"], []):
        found = unique(names)
        assert len({name.casefold() for name in found}) == len(names)
        assert all(now == was or now.startswith(f"{was}_") for now, was in zip(found, names, strict=True))


# SQL: as in the table and CSV, in JSON, in Parquet; one text for the first two unless two are given
CASES: list[tuple[str, str | tuple[str, str], Any, Any]] = [
    ("true", ("yes", "True"), True, True),
    ("(-128)::TINYINT", "-128", -128, -128),
    ("18446744073709551615::UBIGINT", ("18,446,744,073,709,551,615", str(2**64 - 1)), 2**64 - 1, 2**64 - 1),
    ("sum(7) over ()", "14", 14, Decimal(14)),  # a sum of integers has 128 bits
    (f"{10**37}::HUGEINT", (f"{10**37:,}", str(10**37)), 10**37, Decimal(10**37)),
    ("170141183460469231731687303715884105727::HUGEINT", str(2**127 - 1), str(2**127 - 1), str(2**127 - 1)),
    ("340282366920938463463374607431768211455::UHUGEINT", str(2**128 - 1), str(2**128 - 1), str(2**128 - 1)),
    (f"'{10**60}'::BIGNUM", str(10**60), str(10**60), str(10**60)),
    ("0.1::FLOAT", "0.1", Decimal("0.1"), 0.10000000149011612),
    ("1e300", "1e+300", Decimal("1e300"), 1e300),
    ("'inf'::DOUBLE", "inf", None, float("inf")),
    ("'-inf'::FLOAT", "-inf", None, float("-inf")),
    ("'nan'::DOUBLE", "nan", None, "nan"),
    ("1.50::DECIMAL(9, 2)", "1.50", Decimal("1.50"), Decimal("1.50")),
    ("0.0000000001::DECIMAL(38, 10)", "0.0000000001", Decimal("1E-10"), Decimal("1E-10")),
    (
        "1234567890123456789012345678.0123456789::DECIMAL(38, 10)",
        ("1,234,567,890,123,456,789,012,345,678.0123456789", "1234567890123456789012345678.0123456789"),
        Decimal("1234567890123456789012345678.0123456789"),
        Decimal("1234567890123456789012345678.0123456789"),
    ),
    ("INTERVAL 14 MONTH + INTERVAL 90 MINUTE", *["1 year 2 months 01:30:00"] * 3),
    ("DATE '2026-11-27'", "2026-11-27", "2026-11-27", "2026-11-27"),
    ("'infinity'::DATE", *["infinity"] * 3),
    ("DATE '12026-11-27'", *["12026-11-27"] * 3),
    ("TIME '17:42:23.5'", *["17:42:23.500000"] * 3),
    ("TIME '24:00:00'", *["24:00:00"] * 3),
    ("'17:42:23+02:00'::TIMETZ", *["17:42:23+02"] * 3),
    ("TIMESTAMP '2026-11-27 17:42:23'", *["2026-11-27 17:42:23"] * 3),
    ("TIMESTAMP_NS '2026-11-27 17:42:23.123456789'", *["2026-11-27 17:42:23.123456789"] * 3),
    ("TIMESTAMPTZ '2026-11-27 17:42:23+01'", *["2026-11-27 16:42:23+00:00"] * 3),
    ("'-infinity'::TIMESTAMPTZ", *["-infinity"] * 3),
    ("'b'::ENUM('a', 'b')", *["b"] * 3),
    ("['b'::ENUM('a', 'b')]", '["b"]', ["b"], ["b"]),
    ("'123e4567-e89b-12d3-a456-426614174000'::UUID", *["123e4567-e89b-12d3-a456-426614174000"] * 3),
    (r"'a\x00\xFF\x5C\x22'::BLOB", r"a\x00\xFF\x5C\x22", r"a\x00\xFF\x5C\x22", b'a\x00\xff\\"'),
    ("'0101'::BIT", *["0101"] * 3),
    ("'{\"a\": 1}'::JSON", *['{"a": 1}'] * 3),
    ("'POINT (1 2)'::GEOMETRY", *["POINT (1 2)"] * 3),
    ("3::UNION(num INTEGER, str VARCHAR)", *["3"] * 3),
    ("42::VARIANT", *["42"] * 3),
    ("[1, NULL, 3]", "[1, null, 3]", [1, None, 3], [1, None, 3]),
    ("[[1.5], [], NULL]", "[[1.5], [], null]", [[Decimal("1.5")], [], None], [[Decimal("1.5")], [], None]),
    ("[1, 2]::INTEGER[2]", "[1, 2]", [1, 2], [1, 2]),
    ("['nan'::FLOAT]", "[null]", [None], ["nan"]),
    ("{'a': 1, 'b': [INTERVAL 1 DAY]}", '{"a": 1, "b": ["1 day"]}', {"a": 1, "b": ["1 day"]}, {"a": 1, "b": ["1 day"]}),
    ("{'a': {'b': '24:00'::TIME}}", '{"a": {"b": "24:00:00"}}', *[{"a": {"b": "24:00:00"}}] * 2),
    ("{'we \"ird': 1::UHUGEINT}", '{"we \\"ird": "1"}', *[{'we "ird': "1"}] * 2),
    ("row(1, 'x')", '{"element1": 1, "element2": "x"}', *[{"element1": 1, "element2": "x"}] * 2),
    ("struct_pack()", *["{}"] * 3),
    ("MAP {'f1': 0.5::DOUBLE}", '{"f1": 0.5}', {"f1": Decimal("0.5")}, [("f1", 0.5)]),
    ("MAP {1: 'x', 2: NULL}", '{"1": "x", "2": null}', {"1": "x", "2": None}, [(1, "x"), (2, None)]),
    ("MAP {DATE '2026-11-27': 1}", '{"2026-11-27": 1}', {"2026-11-27": 1}, [("2026-11-27", 1)]),
    ("MAP {2::UHUGEINT: 1::BIGNUM}", '{"2": "1"}', {"2": "1"}, [("2", "1")]),
    ("MAP {{'a': 1}: 2}", '[{"key": {"a": 1}, "value": 2}]', [{"key": {"a": 1}, "value": 2}], [({"a": 1}, 2)]),
    ("MAP {}", "{}", {}, []),
    ("[MAP {'a': 1}]", '[{"a": 1}]', [{"a": 1}], [[("a", 1)]]),
    ("'o\x00\x1b[31m\u202e'", ("o\\x00\\x1b[31m\\u202e", "o\x00\x1b[31m\u202e"), *["o\x00\x1b[31m\u202e"] * 2),
    ("'one' || chr(10) || 'two, \"three\"'", ('one two, "three"', 'one\ntwo, "three"'), *['one\ntwo, "three"'] * 2),
    ("NULL", ("-", ""), None, None),
    ("NULL::MAP(VARCHAR, DOUBLE)", ("-", ""), None, None),
    ("NULL::STRUCT(a INTEGER)", ("-", ""), None, None),
    ("NULL::INTERVAL[]", ("-", ""), None, None),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "text", "in_json", "in_parquet"), CASES, ids=[case[0] for case in CASES])
def test_a_value_in_every_format(
    store: Store,
    sql: str,
    text: str | tuple[str, str],
    in_json: Any,
    in_parquet: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown, in_csv = text if isinstance(text, tuple) else (text, text)
    found = query(store, f"select {sql} as v, 'end' as e from range(2)")
    said = {}
    for form in ("table", "csv", "json"):
        printed.write(found, form)
        said[form] = capsys.readouterr().out
    assert said["table"].splitlines()[1:] == [f"{shown}  end"] * 2
    assert lines(said["csv"])[1:] == [[in_csv, "end"]] * 2
    assert strict(said["json"]) == [{"v": in_json, "e": "end"}] * 2
    sink = io.BytesIO()
    pq.write_table(found, sink)
    back = pq.read_table(io.BytesIO(sink.getvalue()))
    back.validate(full=True)
    assert plain(back["v"].to_pylist()) == [in_parquet] * 2


def plain(value: Any) -> Any:
    """Times as text, NaN as a word that equals itself."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(plain, value))
    if isinstance(value, float) and value != value:
        return "nan"
    return str(value) if hasattr(value, "isoformat") else value


def test_every_type_that_duckdb_has_in_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    connection = duckdb.connect(config={"python_enable_replacements": False})
    found = answer(connection.sql("select * from test_all_types()")).table
    assert found.num_rows == 3
    assert found.num_columns > 50
    sink = io.BytesIO()
    pq.write_table(found, sink)
    back = pq.read_table(io.BytesIO(sink.getvalue()))
    back.validate(full=True)
    assert back.column_names == found.column_names
    assert plain(back.to_pylist()) == plain(found.to_pylist())
    rows = lines(printed.csv(found))
    assert len(rows) == 4
    printed.write(found, "json")
    out = capsys.readouterr()
    objects = strict(out.out)
    assert [list(line) for line in objects] == [found.column_names] * 3
    assert "null in double_array" in out.err
    printed.write(found, "table")
    assert len(capsys.readouterr().out.splitlines()) == 4
    assert [cell for cell in rows[3] if cell] == []  # the last row is null throughout
    assert {*objects[2].values()} == {None}


def test_blobs_are_read_back_by_duckdb(store: Store) -> None:
    every = "".join(f"\\x{i:02X}" for i in range(256))
    [[text]] = lines(ask(store, f"select '{every}'::BLOB as b", "csv").stdout)[1:]
    [(back,)] = duckdb.execute("select ?::BLOB", [text]).fetchall()
    assert back == bytes(range(256))


def test_what_json_lacks_is_null_and_said(store: Store) -> None:
    asked = "select 'nan'::double as a, [{'b': '-inf'::float}] as c, 1.5 as d"
    result = ask(store, asked, "json")
    assert strict(result.stdout) == [{"a": None, "c": [{"b": None}], "d": Decimal("1.5")}]
    assert "JSON has no NaN and no infinity: they are null in a, c" in result.stderr
    assert ask(store, "select 1.5 as d", "json").stderr == ""
    assert strict(ask(store, "select 1 as a where false", "json").stdout) == []


def test_what_becomes_text_for_its_value_is_said(store: Store) -> None:
    said = ask(store, "select unnest([DATE '2026-11-27', 'infinity']) as d", "csv")
    assert lines(said.stdout) == [["d"], ["2026-11-27"], ["infinity"]]
    assert "column d is text: it has a value that DATE holds and other programs don't" in said.stderr


@pytest.mark.parametrize("sql", ["select {} as v; -- ;", "select ';é' as u, {} as v ; ", "from (select {} v) /* ; */;"])
def test_a_semicolon_at_the_end(store: Store, sql: str) -> None:
    assert [line[-1] for line in lines(ask(store, sql.format("INTERVAL 1 DAY"), "csv").stdout)] == ["v", "1 day"]


def test_the_order_of_the_rows_stays(store: Store) -> None:
    found = lines(ask(store, "select INTERVAL (i) DAY as d, i from range(5000) t(i) order by i desc", "csv").stdout)
    assert [int(i) for _, i in found[1:]] == list(range(4999, -1, -1))


def test_no_command_prints_what_json_lacks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from orchestrator.commands.common import print_json

    print_json({"a": float("nan"), "b": [float("-inf"), (1.5, {"c": float("inf")})], "d": Path("x")})
    assert strict(capsys.readouterr().out) == {"a": None, "b": [None, [Decimal("1.5"), {"c": None}]], "d": "x"}


def test_arrow_given_by_hand_is_printed_by_position(capsys: pytest.CaptureFixture[str]) -> None:
    chunked = pa.table({"s": pa.chunked_array([[{"a": 1}], [None, {"a": 2}]])})
    printed.write(chunked, "json")
    assert strict(capsys.readouterr().out) == [{"s": {"a": 1}}, {"s": None}, {"s": {"a": 2}}]
