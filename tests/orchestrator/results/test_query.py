"""SQL over the views, and nothing but the views."""

from __future__ import annotations

import importlib
from pathlib import Path

import pyarrow as pa
import pytest
from study_rows import apet, full, learning_curve, row, trial

from orchestrator.results.query import VIEWS, query, select_trials, where
from trials.errors import ApetError
from trials.store.store import Store

MODULE = importlib.import_module("orchestrator.results.query")  # as an attribute of the package it is the function


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    made = Store(tmp_path_factory.mktemp("study"), create=True)
    for count in (16, 256):
        for seed in (0, 1):
            one = row(trial(apet(count), seed=seed), 0.5 + count / 1000, metrics={"f1": count / 1000})
            made.append(one, learning_curve(one))
    for one in full([0.8, 0.7]):
        made.append(one, learning_curve(one))
    made.append(row(trial(apet(16), seed=9), None, state="failed", error_class="ValueError"))
    return made


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("select * from trials", 7),
        ("SELECT * FROM Trials;", 7),
        ('select * from main."trials"', 7),
        ("from attempts", 7),
        ("select * from curves where step = 60", 6),
        ("select * from transfers", 0),
        ("select count(*) from selected group by method, count_actual", 3),
        ("select metrics['f1'] from trials where metrics['f1'] > 0.2", 2),
        ("with best as (select * from selected) select * from best b join trials using (trial_id)", 6),
        ("with trials as (select * from trials limit 2) select * from trials", 2),
        ("with recursive n as (select 1 i union all select i + 1 from n where i < 3) from n", 3),
        ("select * from trials t, unnest(map_keys(t.metrics)) as keys(key)", 4),
        ("select (select max(test_score) from trials) from range(2)", 2),
        ("select * from trials pivot (avg(test_score) for method in ('apet', 'full'))", 7),
        ("describe curves", 8),
        ("select 1 union all values (2)", 2),
    ],
)
def test_what_can_be_asked(store: Store, sql: str, rows: int) -> None:
    assert len(query(store, sql)) == rows


def test_the_studys_table(store: Store) -> None:
    found = query(
        store,
        "select backbone, method, count_actual, avg(test_score), count(*) from selected group by all order by all",
    )
    assert [tuple(line.values()) for line in found.to_pylist()] == [
        ("quickstart-l3", "apet", 16, 0.516, 2),
        ("quickstart-l3", "apet", 256, 0.756, 2),
        ("quickstart-l3", "full", 17_000_000, 0.75, 2),
    ]


def test_types_come_back(store: Store) -> None:
    found = query(store, "select started_at, metrics, versions from attempts")
    assert found.schema.types == store.attempts().select(["started_at", "metrics", "versions"]).schema.types


def test_only_the_views_that_are_named_are_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Store) -> pa.Table:
        raise AssertionError("not asked for")

    for view in set(VIEWS) - {"attempts"}:
        monkeypatch.setattr(Store, view, fail)
    assert len(query(store, "select 'curves' from attempts -- trials")) == 7


@pytest.mark.parametrize(
    "sql",
    [
        "insert into trials select * from trials",
        "delete from trials",
        "update trials set state = 'completed'",
        "drop view trials",
        "create table t as select 1",
        "copy trials to 'trials.csv'",
        "copy (select 1) to 'one.parquet'",
        "export database 'here'",
        "attach 'other.db'",
        "install httpfs",
        "load httpfs",
        "set enable_external_access = true",
        "pragma version",
        "call pragma_version()",
        "checkpoint",
        "explain analyze select 1",
        "begin",
    ],
)
def test_what_writes_or_changes_is_refused(
    store: Store, sql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ApetError, match=r"SQL: [A-Z]+ is not read-only; give one SELECT over trials, selected, "):
        query(store, sql)
    assert list(tmp_path.iterdir()) == []


OUTSIDE = [
    "select * from 'FILE'",
    "select * from read_csv('FILE')",
    "select * from read_text('FILE')",
    "select * from read_parquet('FILE')",
    "select * from glob('FILE')",
    "select * from sniff_csv('FILE')",
    "select * from 'https://example.org/x.parquet'",
    "select * from read_blob('s3://bucket/x')",
    "select * from query('select 1')",
    "select * from query_table('trials')",
    "select * from information_schema.tables",
    "select * from system.information_schema.tables",
    "select * from pg_catalog.pg_class",
    "select * from other.trials",
    "select * from other.main.trials",
    "select * from sqlite_master",
    "select * from duckdb_tables",
    "select * from duckdb_settings()",
    "from pragma_table_info('trials')",
    "show tables",
    "show all tables",
    "describe 'FILE'",
    "summarize 'FILE'",
    "select current_setting('home_directory')",
    "select getenv('HOME')",
    "select * from store",
    "select * from hidden",
    "select 1 union select count(*) from glob('FILE')",
    "select (select count(*) from duckdb_tables())",
    "select * from trials where task in (select content from read_text('FILE'))",
    "select * from trials join duckdb_views on true",
    "with duckdb_tables as (select * from duckdb_tables) from duckdb_tables",
    "with duckdb_tables as (with recursive r as (select 1 union all select 2 from r) from duckdb_tables) from trials",
    "with a as (with duckdb_tables as (select 1) select 1) select * from duckdb_tables",
    "with x as (from read_csv('FILE')) select 1",
    "select * from trials, lateral (select * from glob('FILE'))",
    "pivot duckdb_tables on table_name in ('a') using count(*)",
]


@pytest.mark.parametrize("sql", OUTSIDE)
def test_reads_outside_the_views_are_refused(store: Store, sql: str, tmp_path: Path) -> None:
    hidden = pa.table({"secret": [1]})  # a Python variable is no view either
    (tmp_path / "file.csv").write_text("secret\n1\n")
    with pytest.raises(ApetError, match=r"^SQL: (no view|\w+\(\) (reads what is no view|is not allowed))"):
        query(store, sql.replace("FILE", str(tmp_path / "file.csv")))
    assert len(hidden) == 1


def test_duckdb_itself_refuses_too(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second fence holds where the first has a hole."""
    (tmp_path / "file.csv").write_text("secret\n1\n")
    monkeypatch.setattr(MODULE, "_names", lambda tree, scope: iter(()))
    monkeypatch.setattr(MODULE, "hidden", pa.table({"secret": [1]}), raising=False)
    assert "hidden" in vars(MODULE)
    for sql in (
        "from hidden",
        f"from read_csv('{tmp_path}/file.csv')",
        f"from '{tmp_path}/file.csv'",
        f"from glob('{tmp_path}/*')",
    ):
        with pytest.raises(ApetError, match=r"SQL: (Permission|Catalog) Error"):
            query(store, sql)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("", "0 statements; give exactly one SELECT over trials, selected, attempts"),
        (" -- nothing\n;", "0 statements"),
        ("select 1; select 2", "2 statements"),
        ("select 1; drop table trials", "2 statements"),
        ("selec 1", r'Parser Error: syntax error at or near "selec"; views: trials, selected'),
        (
            "select * from trails",
            "no view 'trails'; did you mean trials\\? Choices: trials, selected, attempts, curves",
        ),
        (
            "select score from trials",
            r'Binder Error: Referenced column "score" not found.*; columns of trials: trial_id',
        ),
        (
            "select backbnoe from trials",
            r"not found in FROM clause; did you mean backbone\?; columns of trials: trial_id",
        ),
        ("select t.Taks from trials t", r"did you mean task\?; columns of trials"),
        (
            "select c.stepp from trials join curves c using (trial_id)",
            r"did you mean steps?\?; columns of trials: .*curves",
        ),
        ("select * exclude (methd) from trials", r"did you mean method\?; columns of trials"),
        ("select c.step, c.nope from curves c", "columns of curves: trial_id, attempt_id, step, split"),
        ("select nope(1) from trials", "Catalog Error: .*nope"),
        ("select cast(task as int) from trials", "Conversion Error"),
        ("pivot trials on method using avg(test_score)", "write PIVOT with its values: ON x IN"),
        ("select * from trials where steps > ?", "Values were not provided"),
    ],
)
def test_wrong_sql_says_what_is_right(store: Store, sql: str, message: str) -> None:
    with pytest.raises(ApetError, match=message) as caught:
        query(store, sql)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("deep", ["1 + " * 500 + "1 = 1", "not " * 900 + "true"])
def test_what_is_too_deep_to_check_is_an_error(store: Store, deep: str) -> None:
    with pytest.raises(ApetError, match=r"^SQL: it is nested too deeply to be checked; write WITH parts"):
        query(store, f"select {deep}")
    with pytest.raises(ApetError, match=r"^condition .*nested too deeply to be checked.*; columns: trial_id"):
        where(store.trials(), deep)
    many = " or ".join(f"train_seed = {seed}" for seed in range(500))
    assert where(store.trials(), many).equals(store.trials()), "long is not deep"


@pytest.mark.parametrize(
    ("setting", "value"),
    [("temp_directory", ""), ("python_enable_replacements", False), ("lock_configuration", True), ("TimeZone", "UTC")],
)
def test_what_no_query_shows(setting: str, value: object) -> None:
    """Without a temporary directory nothing is spilled into the user's own; the others stand behind other fences."""
    with MODULE._connection() as connection:
        assert connection.execute("SELECT current_setting(?)", [setting]).fetchall() == [(value,)]


def test_an_ambiguous_column_is_not_an_unknown_one(store: Store) -> None:
    with pytest.raises(ApetError, match="Ambiguous reference") as caught:
        query(store, "select trial_id from trials t join curves c on true")
    assert "did you mean" not in str(caught.value)


def test_no_store(tmp_path: Path) -> None:
    with pytest.raises(ApetError, match="no store at"):
        query(Store(tmp_path / "none"), "select * from trials")


def test_a_condition_keeps_rows_in_their_order(store: Store) -> None:
    trials = store.trials()
    kept = where(trials, "count_requested = 16 and state <> 'failed' -- of three")
    assert kept.schema.equals(trials.schema)
    ids = [t for t in trials["trial_id"].to_pylist() if t in set(kept["trial_id"].to_pylist())]
    assert kept["trial_id"].to_pylist() == ids
    assert len(ids) == 2
    assert where(trials, "true").equals(trials)
    assert len(where(trials, "count_requested > 20")) == 2, "null is not true"
    assert len(where(trials.slice(0, 0), "task = 'rte'")) == 0


WRONG = [
    ("nope = 1", 'column "nope" not found'),
    ("taks = 'rte'", r"did you mean task\?; give SQL that is true or false"),
    ("test_score", "it is DOUBLE, neither true nor false"),
    ("task = 'a', true", "neither true nor false"),
    ("", "neither true nor false"),
    ("sum(steps) > 1", "aggregates"),
    ("task =", "syntax error"),
    ("task = 'a'; drop table trials", "syntax error"),
    ("true) limit (1", "more than one condition"),
    ("true) order by (steps", "more than one condition"),
    ("true) group by (task", "more than one condition"),
    ("true) union all (select 1", "more than one condition"),
    ("steps > (select avg(steps) from trials)", "reads more than the row"),
    ("exists (from glob('/*'))", r"glob\(\) reads what is no view"),
]


@pytest.mark.parametrize(("condition", "message"), WRONG)
def test_a_wrong_condition_names_the_columns(store: Store, condition: str, message: str) -> None:
    for table in (store.trials(), store.trials().slice(0, 0)):
        with pytest.raises(ApetError, match=message) as caught:
            where(table, condition)
        assert str(caught.value).startswith(f"condition {condition!r}: ")
        assert "columns: trial_id, spec, family, backbone" in str(caught.value)


def test_trials_are_selected_before_they_have_rows() -> None:
    trials = [trial(apet(count), seed=seed) for count in (16, 256) for seed in (0, 1)]
    assert select_trials(trials, "count_requested > 16 and position_seed = 1 and method = 'apet'") == [trials[3]]
    assert select_trials(trials, f"trial_id like '{trials[1].trial_id[:9]}%'") == [trials[1]]
    assert select_trials(trials, "learning_rate = 0.01 and steps = 60 and head = 'frozen' and scale = 'l3'") == trials
    for some in (trials, []):
        with pytest.raises(
            ApetError, match="columns: trial_id, family, backbone, scale, weights, task, method"
        ) as caught:
            select_trials(some, "test_score > 0.5")
        assert "test_score" not in str(caught.value).partition("columns:")[2]
