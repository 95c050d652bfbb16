"""Rows of spec version 1 are read as ever, and never run again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from shell import SMALL, apet, refused, row, small

from orchestrator import query, resubmit
from orchestrator.results import show
from trials.modules.methods import count_of
from trials.store.store import Store
from trials.sweep.sweep import Sweep
from trials.trial import SPEC_VERSION, Trial
from workers.modules.file import ModuleFile

TEXT = SMALL.replace("counts: [10, 100],", "counts: [10, 100], placement: adjacent,")


@pytest.fixture
def made(tmp_path: Path) -> tuple[Store, list[Trial]]:
    """A store of then: every trial of a sweep completed, but for one that failed; some with a module."""
    store = Store(tmp_path / "store", create=True)
    older = [replace(trial, spec_version=1) for trial in Sweep.parse(TEXT).trials()]
    failed, *others = older
    store.append(row(failed, "failed", error_class="OSError", error_message="gone", failure_class="infrastructure"))
    for one in others:
        made = row(one)
        theta = (
            torch.arange(count_of(one.method, one.backbone), dtype=torch.float32) if one.method.name != "full" else None
        )
        if theta is not None:
            module = ModuleFile(one, 2, "digest", "fp32", theta)
            made["module_uri"] = store.save_module(one.trial_id, made["attempt_id"], module.to_bytes())
        store.append(made)
    return store, older


def test_every_reader_takes_them(made: tuple[Store, list[Trial]], tmp_path: Path) -> None:
    store, older = made
    found = query(store, "select trial_id, spec from trials")
    assert {Trial.from_spec(spec).trial_id for spec in found["spec"].to_pylist()} == set(found["trial_id"].to_pylist())
    total = json.loads(apet("status", "--store", store.uri, "--json").stdout)["total"]
    assert (total["done"], total["failed"]) == (len(older) - 1, 1)
    for view in ("selected", "curves", "transfers"):
        assert query(store, f"select count(*) as n from {view}")["n"].to_pylist()[0] >= 0
    assert apet("thresholds", "--store", store.uri).exit_code == 0
    assert apet("report", "--store", store.uri, "--out", tmp_path / "out").exit_code == 0
    assert apet("plan", small(tmp_path, TEXT), "--store", store.uri).exit_code == 0


def test_they_count_as_missing(made: tuple[Store, list[Trial]], tmp_path: Path) -> None:
    store, older = made
    sweep = small(tmp_path, TEXT)
    assert f"{len(older)} trials: {len(older)} to do" in apet("plan", sweep, "--store", store.uri).stdout
    said = apet("run", sweep, "--store", store.uri, "--dry-run").stderr
    assert f"{len(older)} of {len(older)} trials would run" in said


def test_show_says_how_the_trial_is_made_anew(made: tuple[Store, list[Trial]]) -> None:
    store, (failed, *_, last) = made
    for one in (failed, last):
        said = apet("show", one.trial_id, "--store", store.uri).stdout
        assert "spec version 1, and this build runs version 2" in said
        assert f"\n  apet run SWEEP --store {store.uri}\n" in said
        assert "resubmit" not in said
    refused(
        "show", last.trial_id, "--store", store.uri, "--pack", says=[last.trial_id, "can't be trained", "version 1"]
    )


def test_where_a_trial_of_then_has_its_scalars(made: tuple[Store, list[Trial]]) -> None:
    """Adjacent ones began elsewhere."""
    store, older = made
    places = {}
    for one in older:
        if one.method.count == 10 and one.backbone.name == "tiny-bert":
            shown = json.loads(apet("show", one.trial_id, "--store", store.uri, "--json").stdout)
            places[one.position_seed] = shown["trains"]["kinds"]
            assert show.trains(replace(one, spec_version=SPEC_VERSION)).kinds != shown["trains"]["kinds"]
    assert places == {
        0: {"v": {"add": 4, "concat": 3}, "o": {"plug": 3}},
        1: {"v": {"add": 4}, "k": {"concat": 3}, "o": {"plug": 3}},
    }


def test_a_module_of_then_is_exported(made: tuple[Store, list[Trial]], tmp_path: Path) -> None:
    store, older = made
    for number, one in enumerate(trial for trial in older if trial.method.name != "full"):
        out = tmp_path / str(number)
        assert (
            apet("export", one.trial_id, "--store", store.uri, "--format", "safetensors", "--out", out).exit_code == 0
        )
        again = ModuleFile.from_bytes((out / "module.safetensors").read_bytes())
        assert again.trial == one
    lora = next(trial for trial in older if trial.method.name == "lora")
    assert (
        apet("export", lora.trial_id, "--store", store.uri, "--format", "peft", "--out", tmp_path / "p").exit_code == 0
    )


def test_resubmit_refuses_them_by_name_and_says_how_to_leave_them_out(
    made: tuple[Store, list[Trial]], tmp_path: Path
) -> None:
    store, (failed, *_) = made
    said = refused("resubmit", "--store", store.uri, says=[failed.trial_id, "run its sweep again", "(sweep small)"])
    condition = said.split('--where "')[1].split('"\n')[0].replace('\\"', '"')
    assert resubmit(store, where=condition).asked == 0
    now = Sweep.parse(TEXT).trials()[0]
    store.append(row(now, "failed", weights_source="random:tiny-bert", data_source="hub:none"))
    refused("resubmit", "--store", store.uri, "--where", condition, "--dry-run", says=[now.trial_id])
