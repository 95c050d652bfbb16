"""What would run is listed, what would not is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from shell import SMALL, apet, refused, small, stored

from orchestrator.planning.devices import Machine
from trials.sweep.sweep import Sweep


def test_dry_run_lists_and_writes_nothing(tmp_path: Path) -> None:
    result = apet("run", small(tmp_path), "--store", tmp_path / "new", "--dry-run", "--where", "backbone = 'tiny-t5'")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 1 + 6
    assert "nothing was run" in result.stderr
    assert not (tmp_path / "new").exists()


def test_a_dry_run_as_json(tmp_path: Path) -> None:
    words = ("run", small(tmp_path), "--store", tmp_path / "new", "--json")
    rows = json.loads(apet(*words, "--dry-run", "--limit", 3).stdout)
    assert [one["trial_id"] for one in rows] == [t.trial_id for t in Sweep.load(small(tmp_path)).trials()[:3]]
    refused(*words, says=["--json goes with --dry-run"])
    refused("resubmit", *words[2:], says=["--json goes with --dry-run"])
    every = SMALL.replace("[10, 100]", "[99999999], over_capacity: skip")
    every = every.replace("  - full\n  - {method: lora, rank: 2}\n", "")
    assert apet(words[0], small(tmp_path, every), *words[2:], "--dry-run").stdout == "[]\n"


def test_a_condition_that_nothing_fulfils_is_said(tmp_path: Path) -> None:
    store, trials = stored(tmp_path)
    said = [f"no trial of {len(trials)} fulfils it", "apet plan"]
    for more in ((), ("--dry-run",)):
        refused("run", small(tmp_path), "--store", store.uri, "--where", "backbone = 'x'", *more, says=said)
    result = apet("thresholds", "--store", store.uri, "--where", "backbone = 'x'")
    assert result.exit_code == 0
    assert "no trial of 3 fulfils it" in result.stdout
    assert "run a sweep" not in result.stdout


@pytest.mark.parametrize("words", [("plan", "--trials"), ("run", "--dry-run")])
def test_what_was_skipped_is_said(words: tuple[str, ...], tmp_path: Path) -> None:
    skip = SMALL.replace("counts: [10, 100]", "counts: [10, 99999999], over_capacity: skip")
    words = (*words, "--store", str(tmp_path / "s"))
    result = apet(words[0], small(tmp_path, skip), *words[1:])
    assert len(result.stdout.splitlines()) == 1 + 2 * (2 + 2)
    assert "4 trials skipped (over_capacity: skip)" in result.stderr
    assert "count 99999999" in result.stderr
    every = skip.replace("[10, ", "[").replace("  - full\n  - {method: lora, rank: 2}\n", "")
    result = apet(words[0], small(tmp_path, every), *words[1:])
    assert "all 4 were skipped" in result.stderr
    assert (result.exit_code, result.stdout) == (0, "")
    assert "0 " not in result.stderr.split("; the first")[0]


def test_dry_run_run_and_plan_refuse_the_same_groups_in_the_same_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = small(tmp_path, SMALL.replace("[tiny-bert, tiny-t5]", "[tiny-bert, t5-xxl]"))
    node = Machine(cpus=32, memory=128 * 2**30, gpus=4, card_bytes=40 * 2**30)
    for module in ("orchestrator.planning.devices", "orchestrator.driver.run"):
        monkeypatch.setattr(f"{module}.here", lambda: node)
    groups = [
        line.removeprefix("refused by `apet run`: ")
        for line in apet("plan", large).stdout.splitlines()
        if line.startswith("refused by")
    ]
    assert len(groups) == 1
    assert groups[0].startswith("t5-xxl full on rte: ")
    for more in ((), ("--dry-run",)):
        said = refused("run", large, "--store", tmp_path / "new", *more, says=[*groups, "--where leaves trials out"])
        assert said.count(" on rte: ") == len(groups), "no other group is named"
        assert (
            apet("run", large, "--store", tmp_path / "new", "--where", "method <> 'full'", "--dry-run").exit_code == 0
        )
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("resources", "says"),
    [
        (
            "{gpus: 2}",
            ["tiny-bert full on rte: ", "tiny-t5 full on rte: ", "no GPU", "gpus is 2"],
        ),
        ("{gpus: 0, offload: true}", ["resources.offload: true, but resources.gpus is 0"]),
        ("{zero_stage: 0, offload: true}", ["resources.offload: true, but resources.zero_stage is 0", "give stage 2"]),
    ],
)
def test_a_dry_run_refuses_what_the_run_would(resources: str, says: list[str], tmp_path: Path) -> None:
    gang = small(tmp_path, SMALL + f"resources: {resources}\n")
    for more in ((), ("--dry-run",)):
        refused("run", gang, "--store", tmp_path / "new", *more, says=says)
    assert not (tmp_path / "new").exists()


def test_a_plan_of_nothing_is_a_line_and_the_reasons(tmp_path: Path) -> None:
    every = SMALL.replace("[10, 100]", "[99999999], over_capacity: skip")
    every = every.replace("  - full\n  - {method: lora, rank: 2}\n", "")
    lines = apet("plan", small(tmp_path, every)).stdout.splitlines()
    assert lines[0] == "small: all 4 trials were skipped"
    assert all(line.startswith(("skipped", "…")) for line in lines[1:])


def test_trials_that_another_run_has_in_hand_are_said(tmp_path: Path) -> None:
    store, trials = stored(tmp_path)
    words = ("run", small(tmp_path), "--store", store.uri, "--dry-run")
    assert "heartbeat" not in apet(*words).stderr
    beat = {"trials": [trials[3].trial_id, trials[4].trial_id, "other"], "backbone": "tiny-bert", "task": "rte"}
    store.beat("run", "worker", beat)
    assert "2 trials have a heartbeat of the last minute: another run trains them" in apet(*words).stderr
