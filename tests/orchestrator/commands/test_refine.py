"""``apet refine``, and the options of ``apet run`` that go with refinement."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from refined_world import World, outcome, sweep
from shell import apet, refused

from trials.store.store import Store
from trials.sweep.sweep import Sweep


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "world.yaml"
    found.write_text(sweep().text)
    return found


def test_what_is_printed_is_a_sweep_file(path: Path, tmp_path: Path) -> None:
    done = apet("refine", path, "--store", tmp_path / "store")
    assert done.exit_code == 0
    assert {one.method.count for one in Sweep.parse(done.stdout).trials()} == {2048}
    assert "everything is to do" in done.stderr
    assert "2048" in done.stderr
    more = json.loads(apet("refine", path, "--store", tmp_path / "store", "--budget", "trials=7", "--json").stdout)
    assert sum(len(one["trials"]) for one in more["proposals"]) == 7
    assert not more["resolved"]
    assert [one["state"] for one in more["thresholds"]] == ["open", "open"]


def test_a_resolved_sweep_says_so_and_run_runs_nothing(path: Path, tmp_path: Path) -> None:
    world = World(sweep(), outcome(low=64, high=512))
    world.run()
    store = Store(tmp_path / "store", create=True)
    for row in world.rows:
        store.append(row)
    done = apet("refine", path, "--store", store.uri)
    assert done.stdout.startswith("# all is resolved")
    assert "(256, 512]" in done.stderr
    ran = apet("run", path, "--store", store.uri, "--until-resolved", "--budget", "hours=1")
    assert (ran.exit_code, "nothing was run" in ran.stderr) == (0, True)
    assert "(32, 64]" in ran.stdout
    assert "confirmed by position seeds 3 to 5" in " ".join(ran.stdout.split())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--budget", "trials=3"), ["trials=3", "--until-resolved"]),
        (("--until-resolved", "--limit", "3"), ["--limit 3", "--budget trials=3"]),
        (("--until-resolved", "--dry-run"), ["--dry-run", "apet refine"]),
        (("--until-resolved", "--budget", "trials=0"), ["trials=0", "above 0"]),
        (("--until-resolved", "--budget", "days=1"), ["days=1", "hours=H"]),
        (("--until-resolved", "--budget", "hours=nan"), ["hours=nan", "above 0"]),
        (("--until-resolved", "--where", "method = 'full'"), ["no count curve", "--where"]),
    ],
)
def test_options_that_do_not_go_together(path: Path, tmp_path: Path, options: tuple[str, ...], says: list[str]) -> None:
    refused("run", path, "--store", tmp_path / "store", *options, says=says)
    assert not (tmp_path / "store").exists()


def test_refine_runs_no_clock(path: Path, tmp_path: Path) -> None:
    refused("refine", path, "--store", tmp_path / "store", "--budget", "hours=2", says=["hours", "trials=N"])
