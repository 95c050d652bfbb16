"""docs/gpu.md: its tables are what the planner says."""

from __future__ import annotations

import re

import predictions
import pytest
from paths import ROOT

PAGE = (ROOT / "docs" / "gpu.md").read_text()


def table(name: str) -> list[str]:
    (found,) = re.findall(f"<!-- {name} -->\n(.*?)\n<!-- end of {name} -->", PAGE, re.DOTALL)
    return str(found).splitlines()


@pytest.fixture(autouse=True)
def no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("APET_DATA", raising=False)


def test_memory_is_as_predicted() -> None:
    assert table("memory") == predictions.memory_table().splitlines()


def test_a_sweep_is_as_predicted() -> None:
    head, rule, *rows = table("sweeps")
    said = predictions.sweeps_table(["transfer"]).splitlines()
    assert [head, rule, *(row for row in rows if row.startswith("| transfer |"))] == said


@pytest.mark.slow
def test_all_sweeps_are_as_predicted() -> None:
    assert table("sweeps") == predictions.sweeps_table().splitlines()


def test_writing_the_page_changes_nothing_else() -> None:
    changed = predictions.with_table(PAGE, "memory", "| new |")
    assert changed.replace("| new |", "\n".join(table("memory"))) == PAGE
