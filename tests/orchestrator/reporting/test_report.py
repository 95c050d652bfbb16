"""The report: its numbers are the store's, its page asks nothing of the network, and little or no data is said."""

import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
import shell
from study_rows import apet, curve, full, row, study, trial, write

from orchestrator.analysis.thresholds import thresholds
from orchestrator.reporting.exhibit import MOST, markup, table
from orchestrator.reporting.names import safe, short, spaced
from orchestrator.reporting.report import report
from trials.canonical import without
from trials.errors import ApetError
from trials.store.record import STATES, Record
from trials.store.store import Store
from trials.trial import Method

SEEDS = ("learning_rate", "position_seed", "train_seed")


def eventful() -> list[Record]:
    """A study where readers must choose: two rates a cell, a retried failure, divergence with and without a score."""
    rows = study(tasks=("rotten_tomatoes", "mrpc"))
    worse = [
        row(trial(apet(400), seed=seed, rate=1e-3), 0.51, validation_score=0.50 + 0.001 * seed) for seed in range(3)
    ]
    again = next(r for r in rows if r["method"] == "lora")
    failed = {**again, "state": "failed", "test_score": None, "validation_score": None, "attempt": 1}
    failed["attempt_id"] = f"{again['trial_id']}-1-0000beef"
    placed = curve({c: [0.5, 0.5 + c / 1e5, None] for c in (16, 400, 10_000)}, placement="adjacent")
    for r in placed:
        r |= {"state": "diverged"} if r["test_score"] is None else {}
    return [*rows, *worse, failed, *placed, *full([0.75, 0.76], steps=150)]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Path]:
    folder = tmp_path_factory.mktemp("report")
    store = write(folder / "runs & more", eventful())
    return store, report(store, folder / "out" / "deep").parent


def from_pandas(store: Store) -> pd.DataFrame:
    """The selected rows without any of our readers."""
    rows = pd.read_parquet(f"{store.uri}/attempts")
    rows["rank"] = rows["state"].map({state: i for i, state in enumerate(STATES)})
    rows = rows.sort_values(["trial_id", "rank", "attempt"], ascending=[True, True, False]).groupby("trial_id").head(1)
    rows = rows[rows["state"] != "failed"].copy()
    rows["cell"] = [without(spec, *SEEDS) for spec in rows["spec"]]
    rates = rows.groupby(["cell", "learning_rate"])["validation_score"].mean().fillna(-1).reset_index()
    best = rates.sort_values("validation_score").groupby("cell").tail(1)[["cell", "learning_rate"]]
    return rows.merge(best, on=["cell", "learning_rate"])


@pytest.mark.parametrize("task", ["rotten_tomatoes", "mrpc"])
def test_the_csv_beside_the_figure_is_what_pandas_groups_from_the_store(drawn: tuple[Store, Path], task: str) -> None:
    store, out = drawn
    rows = from_pandas(store)
    rows = rows[(rows["task"] == task) & (rows["steps"] == 60)]
    rows["name"] = rows["method"].replace({"lora": "lora, rank 8"})
    keys = ["backbone", "name", "placement", "count_actual"]
    expected = rows.groupby(keys, dropna=False)["test_score"].agg(["count", "mean", "std", "min", "max"])
    shown = pd.read_csv(out / f"score-{task}.csv").rename(columns={"method": "name", "count": "count_actual"})
    shown = shown.rename(columns={"n": "count", "sd": "std"}).set_index(keys)[expected.columns.tolist()]
    pd.testing.assert_frame_equal(shown.sort_index(), expected.sort_index(), check_dtype=False, rtol=1e-12)
    assert len(shown) == {"rotten_tomatoes": 21, "mrpc": 18}[task]


def test_the_table_of_thresholds_is_that_of_thresholds(drawn: tuple[Store, Path]) -> None:
    store, out = drawn
    expected = thresholds(store).to_arrow().to_pandas()
    shown = pd.read_csv(out / "thresholds.csv", dtype={"learning_rates": str})
    pd.testing.assert_frame_equal(shown, expected, check_dtype=False)


def test_a_report_on_some_trials_by_other_rules(drawn: tuple[Store, Path], tmp_path: Path) -> None:
    store, _ = drawn
    words = ("--where", "task = 'mrpc' and method = 'apet'", "--alpha", 0.01, "--margin", 0.1, "--floor", "chance")
    result = shell.apet("report", "--store", store.uri, "--out", tmp_path, *words)
    assert result.exit_code == 0, result.output
    expected = thresholds(store, where=words[1], alpha=0.01, margin=0.1, floor="chance").to_arrow().to_pandas()
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "thresholds.csv", dtype={"learning_rates": str}), expected, check_dtype=False
    )
    assert expected["full_runs"].min() > 0  # the reference stays
    seen = pd.read_csv(tmp_path / "overview.csv")
    assert (set(seen["task"]), set(seen["method"])) == ({"mrpc"}, {"apet"})
    text = (tmp_path / "index.html").read_text()
    assert "Only trials where task = &#x27;mrpc&#x27;" in text
    assert "α = 0.01" in text
    assert not (tmp_path / "score-rotten_tomatoes.csv").exists()
    shell.refused("report", "--store", store.uri, "--out", tmp_path, "--where", "task = 'x'", says=["no trial of"])


class Page(HTMLParser):
    """Collects what a browser would ask for, the links, the ids, and whether tags match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.policy: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        if tag not in ("meta", "link"):
            self.open.append(tag)
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values["href"]] if tag == "a" else []
        self.asked += [values[key] for key in ("src", "srcset", "data", "action") if key in values]
        self.asked += [values["href"]] if tag == "link" else []
        self.policy += [values["content"]] if values.get("http-equiv") == "Content-Security-Policy" else []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("meta", "link"):
            assert self.open.pop() == tag


def test_the_page_is_self_contained_and_its_links_lead_somewhere(drawn: tuple[Store, Path]) -> None:
    _, out = drawn
    text = (out / "index.html").read_text()
    found = Page(text)
    assert not found.open
    assert found.asked == ["data:,"]
    styles = text[text.index("<style>") : text.index("</style>")]
    assert not re.search(r"@import|url\(", styles)
    assert found.policy[0].startswith("default-src 'none'; script-src 'sha256-")
    assert len(found.ids) == len(set(found.ids))
    for link in found.links:
        assert link[1:] in found.ids if link.startswith("#") else (out / link).is_file(), link
    assert {link for link in found.links if not link.startswith("#")} == {
        p.name for p in out.iterdir() if p.name != "index.html"
    }
    assert "<h1>Report on runs &amp; more</h1>" in text


def test_drawings_are_files_of_their_own_with_text_as_text(drawn: tuple[Store, Path]) -> None:
    _, out = drawn
    drawings = sorted(p.name for p in out.glob("*.svg"))
    assert {"brackets.svg", "score-mrpc.svg", "methods-mrpc.svg", "learning-mrpc.svg"} <= set(drawings)
    for name in drawings:
        text = (out / name).read_text()
        ElementTree.parse(io.StringIO(text))
        assert "<text" in text
        assert "Date" not in text
        assert (out / f"{name[:-4]}.csv").is_file()
        assert (out / f"{name[:-4]}.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_says_what_is_uncertain(drawn: tuple[Store, Path]) -> None:
    text = " ".join((drawn[1] / "index.html").read_text().split())
    assert "3 diverged before any score" in text
    assert "high unresolved: " in text
    assert "diverged without a score: counted at chance" in text
    assert "full, steps 150" in text  # other settings: a row of its own
    assert "2 to 3 seeds" not in text  # every count has three replicates, scored or not


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    rows = curve({64: [0.5, 0.55], 128: [0.6, 0.7]}) + full([0.8, 0.82])
    for name, order in (("a", rows), ("b", rows[::-1])):
        report(write(tmp_path / "store", order), tmp_path / name / "out")
        shutil.rmtree(tmp_path / "store")
    first, second = ({p.name: p.read_bytes() for p in (tmp_path / name / "out").iterdir()} for name in "ab")
    assert first == second


def failed_only() -> list[Record]:
    values = {"state": "failed", "validation_score": None, "error_class": "OSError", "train_s": None}
    return [row(trial(apet(16)), None, **values)]


def unscored_only() -> list[Record]:
    return [row(trial(apet(16), seed=seed), None, state="diverged", validation_score=None) for seed in range(2)]


@pytest.mark.parametrize(
    ("rows", "sentences"),
    [
        (
            [],
            [
                "No results yet.",
                "The store is empty",
                "No count curve yet",
                "No run has a test score",
                "Nothing to compare",
            ],
        ),
        (failed_only(), ["No count curve yet", "No run has a test score"]),
        (unscored_only(), ["No count curve yet", "no run has a test score"]),
        (full([0.8, 0.9]), ["No count curve yet", "0.850 ± 0.071"]),
        ([row(trial(Method("bitfit")), 0.7, train_s=None, count_actual=None)], ["Nothing to test", "0.700"]),
        (curve({64: [0.5]}), ["one seed a count, so the noise is unknown", "1 seed a count"]),
    ],
)
def test_little_or_no_data_gives_an_honest_page(tmp_path: Path, rows: list[Record], sentences: list[str]) -> None:
    text = report(write(tmp_path / "store", rows), tmp_path / "out").read_text()
    Page(text)
    for sentence in sentences:
        assert sentence in text


def test_a_generating_family_has_its_floor_at_zero(tmp_path: Path) -> None:
    rows = [r | {"chance": 0.0, "majority": None} for r in curve({16: [0.0, 0.0], 64: [0.4, 0.5]})]
    report(write(tmp_path / "store", rows), tmp_path / "out")
    assert ">chance 0.00<" in (tmp_path / "out" / "score-rotten_tomatoes.svg").read_text()


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    store = write(tmp_path / "store", [])
    (tmp_path / "file").write_text("")
    with pytest.raises(ApetError, match=r"can't write the report to .*file"):
        report(store, tmp_path / "file")
    with pytest.raises(ApetError, match="no store"):
        report(Store(tmp_path / "nothing"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_thresholds_of_stores_on_disk(tmp_path: Path) -> None:
    rows = study() + curve({c: [0.5, 0.501, 0.499] for c in (16, 64, 256)}, task="mrpc")
    store = write(tmp_path / "a", rows)
    found = {(c.curve.backbone, c.curve.task): c for c in thresholds(store).curves}
    assert found["quickstart-l3", "mrpc"].low.state == "unresolved"
    assert found["quickstart-l6", "rotten_tomatoes"].low.upper in (400, 2000)
    kept = thresholds(store, where="task = 'rotten_tomatoes' and placement = 'discrete'")
    assert len(kept.curves) == 2
    assert all(len(c.curve.full) == 3 for c in kept.curves)  # the condition is on curves, not on their reference


def test_two_stores_copied_into_one_are_one_study(tmp_path: Path) -> None:
    rows = study()
    whole, half = write(tmp_path / "whole", rows), write(tmp_path / "half", rows[::2])
    other = write(tmp_path / "other", rows[:9] + rows[1::2][4:])  # some trials are in both
    assert thresholds(half).rows() != thresholds(whole).rows()
    shutil.copytree(other.uri, half.uri, dirs_exist_ok=True)
    assert thresholds(half).rows() == thresholds(whole).rows()


def test_numbers_and_labels() -> None:
    assert [short(n) for n in (16, 950, 12_000, 36_864, 1_230_000, 7.1e9)] == [
        "16",
        "950",
        "12k",
        "36.9k",
        "1.23M",
        "7.1B",
    ]
    assert (spaced(1234567), spaced(None)) == ("1\u202f234\u202f567", "–")
    assert "<td>a&lt;b</td><td><i>a&lt;b</i></td>" in table(("x", "y"), [("a<b", markup("<i>{}</i>", "a<b"))])
    long = table(("x",), [(str(i),) for i in range(MOST + 7)])
    assert "7 more lines are in the CSV" in long
    assert f"<td>{MOST - 1}</td>" in long
    assert f"<td>{MOST}</td>" not in long


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "a/b", ".hidden", "Rte", "rté", "", "x" * 300, "a<b>&\"'.svg", "con "]
)
def test_any_text_is_a_files_name(name: str) -> None:
    assert re.fullmatch(r"[a-z0-9_][a-z0-9._-]{0,66}", safe(name)), safe(name)
    assert safe(name) not in {safe(name + "x"), safe("y" + name), safe(name.upper() + ".")}


def test_rows_without_versions_or_sizes_are_drawn(tmp_path: Path) -> None:
    bare = [r | {"versions": None, "backbone_parameters": None, "precision": None} for r in curve({64: [0.5, 0.6]})]
    report(write(tmp_path / "store", bare), tmp_path / "out")
    facts = pd.read_csv(tmp_path / "out" / "execution.csv")
    assert set(facts["fact"]) == {"device", "devices", "weights"}
    assert json.loads(bare[0]["spec"])["backbone"]["name"] == "quickstart-l3"
