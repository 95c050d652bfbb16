"""Read-only SQL over a store's views, by DuckDB in memory; nothing else can be read.

Two fences: a statement's parse tree may name the views, its own WITH parts and a few harmless table
functions alone; and DuckDB runs with external access off and its configuration locked.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from orchestrator.results.columns import Answer, answer
from trials.errors import ApetError, choices
from trials.store import arrays
from trials.store.record import IDENTITY, MEASURED, identity
from trials.store.store import Store
from trials.trial import Trial

VIEWS = ("trials", "selected", "attempts", "curves", "answers", "untrained", "transfers")  # each a method of Store
_TABLE_FUNCTIONS = ("generate_series", "range", "unnest")
_REFUSED_FUNCTIONS = ("current_setting", "getenv", "nextval", "write_log")  # they read or write what is no view
_CONDITION_PARTS = {"type", "cte_map", "select_list", "from_table", "where_clause", "aggregate_handling"}
_ROW = "_apet_row"
_UNKNOWN_COLUMN = re.compile(
    r'column (?:named )?"(?P<name>[^"]+)" ?(?:$|not found|in \w+ list not found)', re.IGNORECASE
)
_TOO_DEEP = "it is nested too deeply to be checked; write WITH parts beside each other, and IN (…) for a chain of OR"


def query(store: Store, sql: str) -> pa.Table:
    """The result of one SELECT over the views of a store; only those that it names are read.

    Columns of one name get numbers, and types that Arrow lacks are text: ``orchestrator.results.columns``.

    Raises:
        ApetError: no store; the SQL is wrong, more than one statement, writes, or reads anything but the views.
    """
    return ask(store, sql).table


def ask(store: Store, sql: str) -> Answer:
    """What :func:`query` gives, and notes on what is not as the SELECT says it.

    Raises:
        ApetError: as :func:`query`.
    """
    store.check()
    with _connection() as connection:
        tables: dict[str, pa.Table] = {}
        try:
            named = set(_names(_parse(connection, sql), VIEWS))
            tables = {name: getattr(store, name)() for name in VIEWS if name in named}
            for name, table in tables.items():
                connection.register(name, table)
            return answer(connection.sql(_unterminated(sql)))
        except (duckdb.Error, RecursionError) as error:
            raise ApetError(f"SQL: {_short(error)}{_known(error, tables)}") from None


def where(table: pa.Table, condition: str) -> pa.Table:
    """The rows of a table for which a SQL condition over its columns holds, in their order.

    Raises:
        ApetError: the condition is wrong SQL, not true or false, or names what is no column.
    """
    return table.take(arrays.integers(_kept(table, condition)))


def nothing(condition: str, trials: int) -> str:
    """What is said of a condition that none of so many trials fulfils."""
    return f"condition {condition!r}: no trial of {trials} fulfils it"


def select_trials(trials: Sequence[Trial], condition: str) -> list[Trial]:
    """The trials for which a SQL condition over their identity columns holds, in their order.

    The columns are what is known of a trial before it runs: those of ``trials.store.record.identity``.

    Raises:
        ApetError: as :func:`where`.
    """
    known = pa.schema([field for field in IDENTITY if field.name not in (*MEASURED, "spec")])
    table = pa.Table.from_pylist([identity(trial) for trial in trials], schema=known)
    return [trials[index] for index in _kept(table, condition)]


def _kept(table: pa.Table, condition: str) -> list[int]:
    """The numbers of the rows for which a condition holds, ascending."""
    with _connection() as connection:
        try:
            _only_a_condition(connection, f"SELECT 1 FROM trials WHERE (\n{condition}\n)")
            connection.register("trials", table.append_column(_ROW, arrays.integers(range(len(table)))))
            kind = str(connection.sql(f"SELECT (\n{condition}\n) FROM trials").types[0])
            if kind != "BOOLEAN":
                raise ApetError(f"it is {kind}, neither true nor false")
            kept: list[int] = (
                connection.sql(f"SELECT {_ROW} FROM trials WHERE (\n{condition}\n) ORDER BY {_ROW}")
                .to_arrow_table()[_ROW]
                .to_pylist()
            )
            return kept
        except (duckdb.Error, ApetError, RecursionError) as error:
            raise ApetError(
                f"condition {condition!r}: {_short(error)}{_near(error, table.column_names)}; give SQL that is true or "
                f"false of a row, such as \"task = 'rte' and train_seed = 0\"; columns: {', '.join(table.column_names)}"
            ) from None


def _connection() -> duckdb.DuckDBPyConnection:
    """An empty database in memory that can reach no file, no network and no Python variable.

    A query that needs more memory than there is fails: it would spill into the working directory.
    """
    connection = duckdb.connect(":memory:", config={"python_enable_replacements": False})
    for setting in ("TimeZone = 'UTC'", "temp_directory = ''", "enable_external_access = false"):
        connection.execute(f"SET {setting}")
    connection.execute("SET lock_configuration = true")
    return connection


def _parse(connection: duckdb.DuckDBPyConnection, sql: str) -> dict[str, Any]:
    """The parse tree of one SELECT.

    Raises:
        ApetError: no statement, several, or one that is no SELECT.
        duckdb.Error: no SQL.
    """
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise ApetError(f"SQL: {len(statements)} statements; give exactly one SELECT over {', '.join(VIEWS)}")
    kind = statements[0].type.name
    if kind == "MULTI":
        raise ApetError("SQL: this statement needs a table of its own; write PIVOT with its values: ON x IN ('a', 'b')")
    if kind != "SELECT":
        raise ApetError(f"SQL: {kind} is not read-only; give one SELECT over {', '.join(VIEWS)}")
    [(text,)] = connection.execute("SELECT json_serialize_sql(?)", [sql]).fetchall()
    tree: dict[str, Any] = json.loads(text)
    if tree["error"]:
        raise ApetError(f"SQL: {tree['error_message']}; give one SELECT over {', '.join(VIEWS)}")
    return tree


def _unterminated(sql: str) -> str:
    """One statement less its semicolon, which DuckDB takes at the end of a statement and not inside of another."""
    text = bytearray(sql.encode())
    for start, kind in duckdb.tokenize(sql):
        if kind == duckdb.token_type.operator and text[start : start + 1] == b";":
            text[start : start + 1] = b" "
    return text.decode()


def _names(node: Any, scope: Iterable[str]) -> Iterator[str]:
    """Every table that a parse tree reads, in lower case; all of them are in ``scope`` or WITH parts.

    Raises:
        ApetError: a table or function that is not allowed.
    """
    if isinstance(node, list):
        for item in node:
            yield from _names(item, scope)
        return
    if not isinstance(node, dict):
        return
    scope = {*scope}
    parts = (node.get("cte_map") or {}).get("map") or []
    for part in parts:  # a WITH part sees those before it, and itself only where it is recursive
        name, value = part["key"].lower(), part["value"]
        body = value["query_node"] if "query_node" in value else value["query"]["node"]  # DuckDB 2, DuckDB 1
        recursive = body["type"] == "RECURSIVE_CTE_NODE"
        yield from _names(value, scope | {name} if recursive else scope)
        scope.add(name)
    if node.get("type") in ("BASE_TABLE", "SHOW_REF") and node.get("table_name"):
        yield _table(node, scope)
    function = str(node.get("function_name", "")).lower()
    if function in _REFUSED_FUNCTIONS:
        raise ApetError(f"SQL: {function}() is not allowed; only the views {', '.join(VIEWS)} can be read")
    if node.get("type") == "TABLE_FUNCTION":
        function = str(node["function"].get("function_name", "")).lower()
        if function not in _TABLE_FUNCTIONS:
            raise ApetError(f"SQL: {function}() reads what is no view; only {', '.join(VIEWS)} can be read")
    for key, value in node.items():
        if key != "cte_map":
            yield from _names(value, scope)


def _table(node: Mapping[str, Any], scope: Iterable[str]) -> str:
    name = str(node["table_name"]).strip('"').lower()
    outer = [node.get("catalog_name"), node.get("schema_name")]
    if name not in scope or any(part and part.lower() not in ("main", "memory") for part in outer):
        full = ".".join(str(part) for part in (*outer, node["table_name"].strip('"')) if part)
        raise ApetError(f"SQL: no view {full!r}; {choices(name, VIEWS)}; nothing else can be read")
    return name


def _only_a_condition(connection: duckdb.DuckDBPyConnection, statement: str) -> None:
    """Make sure that what stands in WHERE is one expression, and doesn't close the bracket it is in.

    Raises:
        ApetError: it does, or reads more than the row.
        duckdb.Error: no SQL.
    """
    tree = _parse(connection, statement)
    node = tree["statements"][0]["node"]
    if node["type"] != "SELECT_NODE" or {key for key, value in node.items() if value} - _CONDITION_PARTS:
        raise ApetError("it is more than one condition")
    if list(_names(tree, ["trials"])) != ["trials"]:
        raise ApetError("it reads more than the row")


def _short(error: Exception) -> str:
    """DuckDB's message without its hints and the quoted statement."""
    if isinstance(error, RecursionError):
        return _TOO_DEEP
    return str(error).split("\n", 1)[0].strip().removesuffix("!").removeprefix("SQL: ")


def _known(error: Exception, tables: Mapping[str, pa.Table]) -> str:
    """What could have been named: columns of the tables in use where one is unknown, else the views."""
    if not tables or not isinstance(error, duckdb.BinderException) or "column" not in str(error).lower():
        return f"; views: {', '.join(VIEWS)}"
    columns = {name: table.column_names for name, table in tables.items()}
    near = _near(error, [column for names in columns.values() for column in names])
    return near + "".join(f"; columns of {name}: {', '.join(names)}" for name, names in columns.items())


def _near(error: Exception, columns: Iterable[str]) -> str:
    """The column that was meant, where DuckDB's message names one that is unknown and another is like it."""
    wrong = _UNKNOWN_COLUMN.search(_short(error))
    near = difflib.get_close_matches(wrong["name"].lower(), [*columns], n=1) if wrong else []
    return f"; did you mean {near[0]}?" if near else ""
