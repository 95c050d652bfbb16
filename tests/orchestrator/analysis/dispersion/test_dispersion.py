"""From rows to spreads: what is compared with what, what is left out and said, and what can't be told."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shell import apet as command
from shell import refused
from spread_rows import LARGE, SCORES, SMALL, made, scaled, seeds
from study_rows import answers, apet, row, selected, trial, write

from orchestrator.analysis.dispersion.dispersion import dispersion
from orchestrator.analysis.dispersion.result import COLUMNS, Dispersion
from trials.errors import ApetError
from trials.store.record import Record
from trials.store.scores import unpack_scores
from trials.trial import Method, Trial

METHODS = (Method("bitfit"), Method("lora", rank=8, alpha=16.0), Method("adapter", bottleneck=24))


def one(found: Dispersion, what: str = "position", **values: object) -> dict:
    rows = [r for r in found.rows() if r["what"] == what and all(r[k] == v for k, v in values.items())]
    assert len(rows) == 1, rows
    return rows[0]


def of_methods(scores: Sequence[Sequence[float]], **options: object) -> list[Record]:
    """Scores by method, then by train seed."""
    return [
        row(trial(method, seed=seed, **options), score)
        for method, of in zip(METHODS, scores, strict=True)
        for seed, score in enumerate(of)
    ]


def crossed(scores: np.ndarray, **options: object) -> list[Record]:
    """Scores by position seed, then by train seed."""
    rows = []
    for position, of in enumerate(scores):
        for train, score in enumerate(of):
            base = trial(apet(1000), seed=position, **options)
            again = Trial(**{**{f: getattr(base, f) for f in base.__dataclass_fields__}, "train_seed": train})
            rows.append(row(again, float(score)))
    return rows


def test_one_task_is_the_sample_deviation_less_the_rows() -> None:
    rows = seeds(SCORES)
    found = one(made(rows))
    right = np.array([unpack_scores(r["right"], 1000) for r in rows])
    apart = right - right.mean(1, keepdims=True)
    apart -= apart.mean(0)
    luck = (apart**2).sum() / (4 * 999) / 1000
    assert found["sd_naive"] == pytest.approx(np.std(SCORES, ddof=1))
    assert found["rows_variance"] == pytest.approx(luck)
    assert found["variance"] == pytest.approx(np.var(SCORES, ddof=1) - luck)
    assert found["sd"] == pytest.approx(math.sqrt(found["variance"]))
    assert found["mean"] == pytest.approx(np.mean(SCORES))
    assert found["sd_lower"] < found["sd"] < found["sd_upper"]
    assert found["sd_naive_lower"] < found["sd_naive"] < found["sd_naive_upper"]
    assert (found["seeds"], found["train_seeds"], found["count"]) == (5, 1, 1000)
    assert found["component"] == "position and initial values"
    assert (found["own_variance"], found["train_variance"], found["notes"]) == (None, None, None)


def test_the_text_has_points_and_what_they_are_of() -> None:
    found = made(seeds(SCORES))
    values = one(found)
    line = next(line for line in found.render().splitlines() if line.startswith(SMALL))
    for name in ("sd", "sd_naive"):
        ends = (values[f"{name}_lower"], values[f"{name}_upper"])
        assert f"  {100 * values[name]:.2f} [{100 * ends[0]:.2f}, {100 * ends[1]:.2f}]" in line
    assert f"  {100 * values['mean']:.2f}  " in line
    assert f"  {100 * values['rows_variance'] ** 0.5:.2f}  position and initial values" in line


def test_the_mean_over_tasks_is_what_spreads() -> None:
    low = [0.8 - score + 0.65 for score in SCORES]  # what one task gains the other loses
    found = one(made(seeds(SCORES, task="rte") + seeds(low, task="mrpc")))
    assert found["sd_naive"] == pytest.approx(0, abs=1e-9)
    assert (found["sd"], found["sd_lower"]) == (0, 0)
    assert found["variance"] < 0
    assert found["tasks"] == "mrpc, rte"


def test_two_train_seeds_tell_position_from_initial_values() -> None:
    scores = np.array([[0.70, 0.74], [0.75, 0.77], [0.66, 0.71], [0.73, 0.76]])
    found = one(made(crossed(scores)))
    assert found["component"] == "position"
    assert (found["seeds"], found["train_seeds"]) == (4, 2)
    assert found["sd_naive"] == pytest.approx(scores.mean(1).std(ddof=1))
    assert found["train_variance"] > 0
    assert found["own_variance"] is not None
    holes = crossed(scores)
    holes[5] = holes[5] | {"test_score": None, "right": None}
    left = one(made(holes))
    assert (left["seeds"], left["train_seeds"]) == (3, 2)
    assert "position seed 2" in left["notes"]
    assert "without a score: 1 run (completed without one: 1)" in left["notes"]


def test_a_seed_without_all_scores_is_left_out_and_named_never_zero() -> None:
    rows = seeds(SCORES, task="rte") + seeds([*SCORES[:4], None], task="mrpc")
    found = one(made(rows))
    assert found["seeds"] == 4
    assert found["sd_naive"] == pytest.approx(np.std(SCORES[:4], ddof=1))
    assert "position seed 4" in found["notes"]
    short = one(made(seeds(SCORES, task="rte") + seeds(SCORES[:2], task="mrpc")))
    assert (short["tasks"], short["seeds"]) == ("rte", 5)
    assert "task mrpc" in short["notes"]
    lost = [*seeds(SCORES[:3]), row(trial(apet(1000), seed=3), None, state="diverged")]
    assert "diverged before they had one: 1" in one(made(lost))["notes"]


def test_methods_are_compared_over_tasks_and_train_seeds() -> None:
    scores = [[0.70, 0.71, 0.72], [0.74, 0.76, 0.75], [0.77, 0.78, 0.8]]
    rows = of_methods(scores, task="rte") + of_methods(scores, task="mrpc")
    rows += [row(trial(Method("full"), seed=s, task=t), 0.9) for s in range(3) for t in ("rte", "mrpc")]
    found = one(made(rows), "methods")
    assert found["sd_naive"] == pytest.approx(np.std([0.71, 0.75, 2.35 / 3], ddof=1))
    assert (found["component"], found["seeds"], found["count"]) == ("methods", 3, None)
    assert found["levels"] == "adapter bottleneck 24, bitfit, lora alpha 16 rank 8"
    assert 0.02 < found["sd_lower"] < found["sd"] < found["sd_upper"] < 0.06  # all there are, so not drawn from many


def test_counts_are_compared_over_the_same_seeds() -> None:
    rows = [
        r for count, up in ((100, 0.0), (1000, 0.05), (10_000, 0.08)) for r in seeds([s + up for s in SCORES], count)
    ]
    found = one(made(rows), "counts")
    assert found["sd_naive"] == pytest.approx(np.std([0, 0.05, 0.08], ddof=1))
    assert (found["levels"], found["seeds"]) == ("100, 1000, 10000", 5)
    assert found["own_variance"] < found["variance"] / 10


@pytest.mark.parametrize(
    ("rows", "what", "why"),
    [
        (
            seeds(SCORES[:1]),
            "position",
            "one position seed, so there is no spread to see: run 3 or more position seeds",
        ),
        (seeds(SCORES), "counts", "one count, so there is no spread to see: run 2 or more counts"),
        (of_methods([[0.7], [0.7], [0.7]])[:1], "methods", "one method, so"),
        (seeds([None, None]), "position", "no run has a test score"),
        ([r | {"right": None} for r in seeds(SCORES)], "position", "5 of its 5 scored rows have no answers"),
    ],
)
def test_where_nothing_can_be_said_it_says_why(rows: list[Record], what: str, why: str) -> None:
    found = made(rows)
    row = one(found, what)
    assert (row["sd"], row["sd_lower"], row["sd_upper"], row["variance"]) == (None,) * 4
    assert why in row["notes"]
    assert why.split(",")[0] in found.render().replace("\n  ", " ")
    if "answers" in why:
        assert row["sd_naive"] == pytest.approx(np.std(SCORES, ddof=1))
        assert row["sd_naive_upper"] > row["sd_naive"]


def test_two_train_seeds_share_no_position_so_they_tell_nothing() -> None:
    rows = [r for i, r in enumerate(crossed(np.full((2, 2), 0.7))) if i in (0, 3)]
    found = one(made(rows))
    assert found["sd"] is None
    assert "one position seed with all scores" in found["notes"]


def test_an_empty_store_and_a_condition_that_nothing_fulfils(tmp_path: Path) -> None:
    assert made([]).notes == ("nothing to compare: run apet at several position seeds, or several methods",)
    assert made([]).to_arrow().column_names == list(COLUMNS)
    store = write(tmp_path, seeds(SCORES))
    assert "no trial of 5 fulfils it" in dispersion(store, where="task = 'rte'").notes[0]
    assert one(dispersion(store, where="position_seed < 3"))["seeds"] == 3
    with pytest.raises(ApetError, match="alpha"):
        dispersion(store, alpha=0.7)


def test_a_place_that_collapsed_is_named() -> None:
    assert one(made(seeds([0.8, 0.81, 0.79, 0.8, 0.5])))["notes"].startswith("position seed 4 lies far from the others")
    assert one(made(seeds([0.8, 0.8, 0.5])))["notes"] is None  # of three nobody can say which one is odd
    assert one(made(seeds([0.8] * 5)))["notes"] is None


def test_settings_are_kept_apart() -> None:
    rows = seeds(SCORES) + seeds([s + 0.1 for s in SCORES], steps=90)
    assert {r["variant"] for r in made(rows).rows()} == {"steps 60", "steps 90"}
    placed = seeds(SCORES) + [row(trial(apet(1000, "adjacent"), seed=s), v) for s, v in enumerate(SCORES)]
    assert {r["placement"] for r in made(placed).rows()} == {"discrete", "adjacent"}


def limited(rows: list[Record], limit: int) -> list[Record]:
    """The same rows with a task of which a limited number of test rows is used."""
    changed = []
    for r in rows:
        spec = json.loads(r["spec"])
        spec["task"]["test_rows"] = limit
        of = Trial.from_spec(json.dumps(spec, sort_keys=True, separators=(",", ":"), ensure_ascii=False))
        changed.append(row(of, r["test_score"]))
    return changed


def test_a_tasks_own_limits_split_nothing_but_one_task_twice() -> None:
    apart = one(made(limited(seeds(SCORES, task="rte"), 500) + seeds(SCORES, task="mrpc")))
    assert (apart["tasks"], apart["variant"]) == ("mrpc, rte", None)
    twice = made(limited(seeds(SCORES, task="rte"), 500) + seeds(SCORES, task="rte"))
    assert {r["variant"] for r in twice.rows()} == {"test_rows 500", "test_rows null"}


def test_nothing_depends_on_order_repeated_attempts_or_other_columns(tmp_path: Path) -> None:
    rows = scaled(0.06, 500, SMALL) + scaled(0.02, 500, LARGE)
    first = made(rows)
    shuffled = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    assert made(shuffled).rows() == first.rows()
    assert made(shuffled).ratio_rows() == first.ratio_rows()
    again = write(tmp_path, rows)
    again.append(
        rows[0] | {"attempt": 7, "attempt_id": f"{rows[0]['trial_id']}-7-again", "test_score": 0.1, "state": "failed"}
    )
    assert dispersion(again).rows() == first.rows()
    table = selected(rows).append_column("more", pa.array([1] * len(rows)))
    assert dispersion(table).rows() == first.rows()
    old = selected([r | {"right": None} for r in rows]).drop_columns(["right", "failure_class"])
    assert all(r["sd"] is None for r in dispersion(old).rows())


def test_scores_that_are_fractions_count_too() -> None:
    rng = np.random.default_rng(0)
    rows = []
    for seed in range(4):
        of = trial(apet(1000), seed=seed)
        values = np.round(np.clip(rng.normal(0.4 + 0.02 * seed, 0.2, 300), 0, 1), 3)
        packed = values.astype("<f2").tobytes()
        rows.append(
            row(
                of,
                float(values.mean()),
                **{**answers(of, 0.5), "right": packed, "test_rows": 300, "test_score": float(values.mean())},
            )
        )
    found = one(made(rows))
    assert found["rows_variance"] == pytest.approx(0.2**2 / 300, rel=0.15)


def test_the_command_in_every_format(tmp_path: Path) -> None:
    rows = [r for c in (500, 2_000) for r in scaled(0.06, c, SMALL) + scaled(0.02, c, LARGE, 1)]
    store = write(tmp_path / "store", rows + of_methods([[0.7, 0.71], [0.75, 0.74], [0.78, 0.78]]))
    expected = dispersion(store)
    table = command("dispersion", "--store", store.uri)
    assert table.exit_code == 0
    assert table.stdout.rstrip() == expected.render()
    for part in ("standard deviation over position seeds", "over methods", "over counts", "across scales"):
        assert part in table.stdout
    said = json.loads(command("dispersion", "--store", store.uri, "--json").stdout)
    assert said["spreads"] == expected.rows()
    assert said["ratios"] == expected.ratio_rows()
    assert command("dispersion", "--store", store.uri, "--format", "csv").stdout.splitlines()[0] == ",".join(COLUMNS)
    parquet = command("dispersion", "--store", store.uri, "--format", "parquet").stdout_bytes
    assert pq.read_table(pa.BufferReader(parquet)).to_pylist() == expected.rows()
    narrow = json.loads(command("dispersion", "--store", store.uri, "--alpha", "0.3", "--json").stdout)
    assert narrow["spreads"][0]["sd_upper"] < said["spreads"][0]["sd_upper"]
    refused("dispersion", "--store", store.uri, "--format", "csv", "--json", says=["exclude each other"])
