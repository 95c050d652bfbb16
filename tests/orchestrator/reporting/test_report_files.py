"""What lies in a report's folder, and what its drawings say."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import altair as alt
import pytest
from study_rows import curve, study, write

from orchestrator.reporting import drawing
from orchestrator.reporting.drawings import FEW, Drawings
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
    assert [">low<" in text for text in said] == [True, False]
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
    assert {"2", "3", "4"} <= set(re.findall(r"<text[^>]*>([0-9.]+)</text>", drawing))
    assert not re.search(r"<text[^>]*>[234][.]\d+</text>", drawing)


def specs(page: Path) -> dict[str, dict[str, Any]]:
    """The figures' specifications on a page, by name."""
    text = page.read_text()
    found = re.findall(r'<figure id="figure-([^"]+)"[^>]*>\n<h3>.*?</h3>\n(.*?)</figure>', text, re.DOTALL)
    kept = {name: re.search(r'class="spec">(.*?)</script>', inner, re.DOTALL) for name, inner in found}
    return {n: json.loads(gzip.decompress(base64.b64decode(match.group(1)))) for n, match in kept.items() if match}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    return report(write(folder / "store", study() + study(tasks=("mrpc",))), folder / "out")


def test_every_specification_is_valid_vega_lite(page: Path) -> None:
    """Altair checks nothing while a report is written, for that takes longer than all the rest."""
    found = specs(page)
    assert {"score-mrpc", "brackets", "dispersion-position", "methods-mrpc", "learning-mrpc"} <= set(found)
    for spec in found.values():
        columns = spec.pop("datasets")["rows"]["columns"]
        assert columns
        alt.Chart.from_dict({**spec, "datasets": {"rows": []}}, validate=True)


def test_the_page_and_the_files_have_one_specification(page: Path) -> None:
    spec = specs(page)["score-mrpc"]
    spec["datasets"]["rows"] = unpacked(spec["datasets"]["rows"])
    assert drawing.svg(spec) == page.with_name("score-mrpc.svg").read_text()


def unpacked(packed: dict[str, Any]) -> list[dict[str, Any]]:
    """As the page's script does it."""
    columns = {
        name: values if isinstance(values, list) else [values["of"][i] for i in values["at"]]
        for name, values in packed["columns"].items()
    }
    return [{k: v[i] for k, v in columns.items() if v[i] is not None} for i in range(packed["rows"])]


@pytest.mark.parametrize("figures", [1, FEW + 3])
def test_figures_are_drawn_alike_here_and_by_other_processes(figures: int) -> None:
    mark = {"mark": "point", "data": {"values": [{"x": 1}]}, "encoding": {"x": {"field": "x", "type": "quantitative"}}}
    many = [{**mark, "width": 50 + i} for i in range(figures)]
    with Drawings() as drawings:
        for i, spec in enumerate(many):
            drawings.add(f"figure-{i}", spec)
        found = dict(drawings.files())
    assert list(found) == [f"figure-{i}.{end}" for i in range(figures) for end in ("svg", "png")]
    assert found[f"figure-{figures - 1}.svg"].decode() == drawing.svg(many[-1])
    assert found["figure-0.png"] == drawing.png(drawing.svg(many[0]))


def test_the_example_is_a_page_of_today_that_says_no_place() -> None:
    example = Path(__file__).parents[3] / "docs" / "example-report" / "index.html"
    text = example.read_text()
    assert len(text) < 2_500_000
    assert '"store":"runs/quickstart"' in text
    for title in ("Score against count", "Thresholds", "Dispersion", "Counts", "Coverage", "How the numbers were made"):
        assert f">{title}</h2>" in text
