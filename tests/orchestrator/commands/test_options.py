"""Options: wrong values, those that exclude each other, those that commands share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from shell import apet, refused, row, small, stored

from trials.store.store import Store
from trials.sweep.sweep import Sweep


@pytest.mark.parametrize(
    ("command", "option", "value", "rule"),
    [
        ("run", "--limit", "three", "should be a valid integer"),
        ("run", "--limit", "0", "should be greater than or equal to 1"),
        ("thresholds", "--alpha", "much", "should be a valid number"),
        ("thresholds", "--floor", "zero", "is not one of 'majority', 'chance'"),
    ],
)
def test_a_wrong_option_is_named_with_its_value(command: str, option: str, value: str, rule: str) -> None:
    words = (command, "quickstart") if command == "run" else (command,)
    refused(*words, "--store", "none", option, value, says=[f"'{option}': '{value}' {rule}"])


def test_options_that_exclude_each_other_are_refused(tmp_path: Path) -> None:
    store, trials = stored(tmp_path)
    for form in ("csv", "parquet"):
        words = ("query", "from trials", "--store", store.uri, "--format", form, "--json")
        refused(*words, says=[f"--format {form} and --json exclude each other"])
    assert apet("query", "from trials", "--store", store.uri, "--format", "json", "--json").exit_code == 0
    refused("show", trials[0].trial_id, "--store", store.uri, "--pack", "--json", says=["--pack and --json"])
    refused("sweeps", "quickstart", "--schema", says=["NAME quickstart and --schema"])
    refused("sweeps", "quickstart", "--json", says=["NAME quickstart and --json"])


def test_status_and_show_take_the_settings_of_a_run(tmp_path: Path) -> None:
    path = small(tmp_path)
    changed = ("--set", "training.steps=3")
    trial = Sweep.load(path).with_(changed[1:]).trials()[0]
    store = Store(tmp_path / "store", create=True)
    store.append(row(trial))
    total = json.loads(apet("status", path, *changed, "--store", store.uri, "--json").stdout)["total"]
    assert (total["done"], total["missing"]) == (1, total["trials"] - 1)
    shown = apet("show", trial.trial_id, "--sweep", path, *changed).stdout
    assert f"apet run {path} --set training.steps=3 --store URI" in shown
    refused("show", trial.trial_id, "--sweep", path, says=["no trial"])
    refused("status", *changed, "--store", store.uri, says=["--set training.steps=3", "none is given"])
