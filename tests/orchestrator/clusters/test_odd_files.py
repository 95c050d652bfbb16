"""Whatever a file looks like, the check says something sensible of it, or that it is no cluster file."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from cluster_files import GOOD, case, good
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.clusters.check import findings
from orchestrator.clusters.finding import ERROR
from trials.errors import ApetError

ODD: list[Any] = [None, 3, -1, 1e400, True, "text", "", [], ["a", 1], [None], {}, {"a": 1}, {"a": ["b"]}]
EACH = 5
STORES = {"aws": "s3://study/x", "one": "/data", "gcp": "gs://study/x", "local": "runs/x"}


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Of every key and entry below a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from paths(inner, (*path, key))


def around(data: Any, path: tuple[Any, ...]) -> Any:
    for part in path[:-1]:
        data = data[part]
    return data


@pytest.mark.parametrize("name", GOOD)
def test_a_key_that_is_removed_misspelt_or_odd_never_ends_the_check(name: str, tmp_path: Path) -> None:
    original = yaml.safe_load(good(name))
    for number, path in enumerate(paths(original)):
        changed = []
        for value in ODD[number % EACH :: EACH]:  # all of them, in a few places each: it takes a minute otherwise
            changed.append(copy.deepcopy(original))
            around(changed[-1], path)[path[-1]] = value
        changed.append(copy.deepcopy(original))
        del around(changed[-1], path)[path[-1]]
        if isinstance(path[-1], str):
            changed.append(copy.deepcopy(original))
            around(changed[-1], path)[path[-1] + "x"] = around(changed[-1], path).pop(path[-1])
        for data in changed:
            findings(case(tmp_path, yaml.safe_dump(data, sort_keys=False), STORES[name]))


@pytest.mark.parametrize("name", GOOD)
def test_a_misspelt_key_is_an_error_that_names_it(name: str, tmp_path: Path) -> None:
    """But for names that are the user's to choose."""
    original, free = yaml.safe_load(good(name)), {"file_mounts", "labels", "metadata"}
    for path in paths(original):
        own = len(path) == 2 and path[0] == "available_node_types"
        if isinstance(path[-1], str) and not own and not free & set(path[:-1]) and "resources" not in path[:-1]:
            if name == "gcp" and "node_config" in path[:-1]:  # Google's client has no model that is here offline
                continue
            data = copy.deepcopy(original)
            around(data, path)[path[-1] + "x"] = around(data, path).pop(path[-1])
            found = findings(case(tmp_path, yaml.safe_dump(data, sort_keys=False), STORES[name]))
            assert any(one.level == ERROR and f"{path[-1]}x" in one.problem for one in found), path


@pytest.mark.parametrize("name", GOOD)
def test_a_line_that_is_lost_is_a_finding_or_an_error(name: str, tmp_path: Path) -> None:
    lines, refused = good(name).splitlines(), []
    for number in range(len(lines)):
        try:
            findings(case(tmp_path, "\n".join(lines[:number] + lines[number + 1 :])))
        except ApetError as error:
            refused.append(str(error))
    assert all("cluster.yaml:" in one for one in refused)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.integers(0, 2000), length=st.integers(0, 40), put=st.text(max_size=12))
def test_a_file_that_is_damaged_anywhere_is_a_finding_or_an_error(
    tmp_path: Path, start: int, length: int, put: str
) -> None:
    text = good("aws")
    try:
        damaged = (text[:start] + put + text[start + length :]).encode("utf-8", "replace").decode()
        findings(case(tmp_path, damaged))
    except ApetError:
        pass


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("# nothing\n", "is empty"),
        ("just words", "no mapping"),
        ("- a\n- b\n", "no mapping"),
        ("a: [1\nb: 2\n", ":2: not YAML"),
        ("a: 1\n\tb: 2\n", ":2: not YAML"),
        ("a: &x [*x]\n", "an anchor that holds itself"),
        ("a: !!python/object:os.system {}\n", "the tag .* means nothing"),
        ("a: 2024-13-45\n", "can't be read"),
        ("a: 1\n---\nb: 2\n", "single document"),
        ("a: " + "[" * 3000, "nested too deeply"),
        ("a: &a [1,1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\n"
         "d: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d]\n", "values and more"),
        ("a: " + "b" * 600_000, "the most"),
    ],
)  # fmt: skip
def test_what_is_no_cluster_file_is_an_error_with_its_place(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ApetError, match=said):
        case(tmp_path, text)


def test_a_file_that_cant_be_read_is_an_error(tmp_path: Path) -> None:
    from orchestrator.clusters.file import ClusterFile

    with pytest.raises(ApetError, match=r"no cluster file at .*cluster\.yaml"):
        ClusterFile.load(tmp_path / "none.yaml")
    with pytest.raises(ApetError, match="can't be read"):
        ClusterFile.load(tmp_path)
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ApetError, match="UTF-8"):
        ClusterFile.load(tmp_path / "bytes.yaml")
