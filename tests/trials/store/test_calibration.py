"""Measured pack sizes: their file, where they are looked for, and what of a file is believed."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trials_for_tests import make_trial

from trials import keys
from trials.setup import Setup
from trials.store.calibration import CACHE, GAIN, STORE, Calibration, Calibrations, Conditions
from trials.store.store import Store
from trials.trial import Method

CPU = Setup("cpu", threads=1)
TRIAL = make_trial("tiny-bert")
HERE = Conditions.of(TRIAL, CPU, "fp32", "A CPU @ 2.0GHz")
SECONDS = st.dictionaries(st.sampled_from([1, 2, 3, 4, 8, 37]), st.floats(1e-6, 1e3), min_size=1)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("APET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def calibration(conditions: Conditions = HERE, **seconds: float) -> Calibration:
    """``_1=0.2``: seconds in packs of one."""
    taken = {int(size[1:]): value for size, value in (seconds or {"_1": 1.0, "_2": 0.9, "_4": 0.8}).items()}
    return Calibration(conditions, taken, {size: 2 * value for size, value in taken.items()}, "cpu")


@given(seconds=SECONDS, clock=st.sampled_from(["cpu", "wall"]))
def test_a_file_gives_back_what_was_measured(seconds: dict[int, float], clock: str) -> None:
    one = Calibration(HERE, seconds, {size: 3 * taken for size, taken in seconds.items()}, clock)
    assert Calibration.from_json(one.to_json()) == one
    assert one.seconds == (one.cpu_s if clock == "cpu" else one.wall_s)


@given(seconds=SECONDS)
def test_the_best_is_the_smallest_that_hardly_takes_longer_than_the_fastest(seconds: dict[int, float]) -> None:
    best = Calibration(HERE, seconds, seconds, "cpu").best
    fastest = min(seconds.values())
    assert seconds[best] * (1 - GAIN) <= fastest
    assert all(seconds[size] * (1 - GAIN) > fastest for size in seconds if size < best)


def test_a_store_keeps_it_in_a_file_that_says_what_it_is_of(cache: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store", create=True)
    store.calibrations().keep(calibration())
    (file,) = (tmp_path / "store" / "calibration").iterdir()
    assert file.name.startswith(f"{keys.warmth(TRIAL.backbone.text, 'fp32')}-cpu.a_cpu_2_0ghz-")
    assert file.read_bytes() == (cache / "calibration" / file.name).read_bytes()
    said = json.loads(file.read_text())
    assert said["best"] == 4
    assert said["conditions"]["processor"] == "A CPU @ 2.0GHz"
    assert said["conditions"]["threads"] == 1
    assert said["cpu_s"] == {"1": 1.0, "2": 0.9, "4": 0.8}


def test_rows_with_soft_tokens_are_longer() -> None:
    prompts = [
        Conditions.of(replace(TRIAL, method=Method("prompt", tokens=n)), CPU, "fp32", HERE.processor) for n in (5, 9)
    ]
    assert len({HERE.file, *(one.file for one in prompts)}) == 3
    assert prompts[0].max_input_length == HERE.max_input_length + 5


def test_the_store_is_asked_before_the_cache(cache: Path, tmp_path: Path) -> None:
    Store(tmp_path / "other", create=True).calibrations().keep(calibration(_1=1.0))
    store = Store(tmp_path / "store", create=True)
    found = store.calibrations().find(HERE)
    assert found is not None
    assert (found.calibration.best, found.place) == (1, CACHE)
    (cache / "calibration").rename(tmp_path / "away")
    store.calibrations().keep(calibration(_1=1.0, _2=0.5))
    (tmp_path / "away").rename(cache / "away")
    found = store.calibrations().find(HERE)
    assert found is not None
    assert (found.calibration.best, found.place) == (2, STORE)


@pytest.mark.parametrize(
    "changed",
    [
        {"weights": "0" * 20},
        {"device": "cuda"},
        {"processor": "Another"},
        {"threads": 2},
        {"precision": "bf16"},
        {"batch_size": 7},
        {"micro_batch": 1},
        {"max_input_length": 7},
        {"max_generated_length": 7},
        {"torch": "3"},
        {"apet": "9"},
    ],
)
def test_a_measurement_holds_for_its_conditions_alone(changed: dict[str, Any], cache: Path) -> None:
    Calibrations().keep(calibration())
    assert Calibrations().find(HERE) is not None
    assert Calibrations().find(replace(HERE, **changed)) is None


def test_what_a_trial_does_not_share_with_others_of_its_pack_does_not_count() -> None:
    other = replace(make_trial("tiny-bert", "lora"), learning_rate=0.7, train_seed=3)
    assert Conditions.of(other, CPU, "fp32", HERE.processor) == HERE
    renamed = replace(TRIAL, backbone=replace(TRIAL.backbone, name="mine"))
    assert Conditions.of(renamed, CPU, "fp32", HERE.processor) == HERE


def test_where_a_processor_is_not_known_the_smallest_size_of_any_counts(cache: Path) -> None:
    known = Calibrations()
    known.keep(calibration())
    known.keep(calibration(replace(HERE, processor="An older CPU"), _1=1.0, _2=0.99))
    known.keep(calibration(replace(HERE, batch_size=7), _1=1.0))
    found = known.find(replace(HERE, processor=""))
    assert found is not None
    assert found.calibration.conditions.processor == "An older CPU"
    assert known.find(replace(HERE, processor="", batch_size=9)) is None


GOOD = json.loads(calibration().to_json())


@pytest.mark.parametrize(
    "text",
    [
        "",
        calibration().to_json()[:-9],
        "[]",
        "{}",
        json.dumps({**GOOD, "version": 2}),
        json.dumps({**GOOD, "clock": "sun"}),
        json.dumps({**GOOD, "cpu_s": {}}),
        json.dumps({**GOOD, "cpu_s": {"1": 1.0}}),
        json.dumps({**GOOD, "cpu_s": {"1": 1.0, "2": -0.9, "4": 0.8}}),
        json.dumps({**GOOD, "cpu_s": {"1": 1.0, "2": float("nan"), "4": 0.8}}),
        json.dumps({**GOOD, "cpu_s": {"0": 1.0, "2": 0.9, "4": 0.8}, "wall_s": {"0": 1.0, "2": 0.9, "4": 0.8}}),
        json.dumps({**GOOD, "conditions": {**GOOD["conditions"], "batch_size": 7}}),
        json.dumps({**GOOD, "conditions": {"weights": "x"}}),
    ],
)
def test_a_torn_or_foreign_file_is_ignored_and_said(text: str, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    Calibrations().keep(calibration())
    (file,) = (cache / "calibration").iterdir()
    file.write_text(text)
    with caplog.at_level(logging.WARNING):
        assert Calibrations().find(HERE) is None
    assert str(file) in caplog.text
    assert "ignored" in caplog.text


def test_places_that_can_not_be_used_cost_no_more_than_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("APET_CACHE", str(tmp_path / "file"))
    store = Store(tmp_path / "store", create=True)
    with caplog.at_level(logging.WARNING):
        known = store.calibrations()
        known.keep(calibration())
    assert "no cache of measured pack sizes" in caplog.text
    found = known.find(HERE)
    assert found is not None
    (tmp_path / "store" / "calibration").rename(tmp_path / "away")
    (tmp_path / "store" / "calibration").write_text("")
    known.keep(calibration())
    assert "isn't kept in the store" in caplog.text
    assert known.find(HERE) is None
    assert known.find(replace(HERE, processor="")) is None
