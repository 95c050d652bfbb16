"""What lies in a report's folder, and what its drawings say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from study_rows import curve, study, write

from orchestrator.reporting import draw
from orchestrator.reporting.report import report
from trials.store.store import Store


def test_a_folder_holds_one_report_and_what_others_put_there(tmp_path: Path) -> None:
    out = tmp_path / "out"
    report(write(tmp_path / "two", study() + study(tasks=("mrpc",))), out)
    (out / "mine.csv").write_text("keep me")
    assert (out / "score-mrpc.svg").is_file()
    one = write(tmp_path / "one", study())
    report(one, out)
    report(one, tmp_path / "fresh")
    assert {p.name for p in out.iterdir()} == {p.name for p in (tmp_path / "fresh").iterdir()} | {"mine.csv"}
    (out / "index.html").write_text('<a href="mine.csv" download>a page of somebody else</a>')
    report(one, out)
    assert (out / "mine.csv").read_text() == "keep me"


def test_the_pictures_mention_no_bracket_where_none_is_drawn(tmp_path: Path) -> None:
    for name, rows in (("some", study()), ("none", curve({64: [0.5], 128: [0.51]}))):
        report(write(tmp_path / name / "store", rows), tmp_path / name / "out")
    outs = [tmp_path / name / "out" for name in ("some", "none")]
    said = [(out / "score-rotten_tomatoes.svg").read_text() for out in outs]
    assert ["threshold bracket" in text for text in said] == [True, False]
    said = [(out / "brackets.svg").read_text() for out in outs]
    assert [">low threshold<" in text for text in said] == [True, False]
    text = (outs[1] / "index.html").read_text()
    assert "every threshold unresolved, so that no bracket is drawn" in text
    assert "inside its bar" not in text


def test_steps_are_whole_numbers(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", create=True)
    point = {"split": "validation", "metric": "accuracy", "value": 0.5}
    for r in curve({64: [0.5, 0.6]}):
        store.append(r, [{**point, "step": step} for step in (2, 3, 4)])
    report(store, tmp_path / "out")
    drawing = (tmp_path / "out" / "learning-rotten_tomatoes.svg").read_text()
    ticks = re.findall(r'<g id="xtick_\d+">.*?<text[^>]*>([^<]+)</text>', drawing, re.DOTALL)
    assert {"2", "3", "4"} <= set(ticks)
    assert not [tick for tick in ticks if not tick.isdigit()]


@pytest.mark.parametrize("panels", range(1, 8))
def test_any_number_of_panels_is_drawn(panels: int) -> None:
    """A row that isn't full has places without a panel."""
    figure, axes = draw.grid(panels)
    assert len(axes) == panels
    assert draw.svg(figure).count('<g id="axes_') == panels
