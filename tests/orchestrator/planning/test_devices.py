"""What a process may use of a machine: affinity, quotas of control groups of both versions, cards that it sees."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.planning import devices
from orchestrator.planning.devices import here, machine_with, seen_cards
from trials.errors import ApetError

GIB = 2**30
LISTING = "0, GPU-aa11, 81559\n1, GPU-bb22, 40960\n2, GPU-cc33, 81559\n"


@pytest.fixture(autouse=True)
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """32 cores and 64 GiB, no card."""
    monkeypatch.setattr(devices, "_affinity", lambda: 32)
    monkeypatch.setattr(devices, "_physical", lambda: 64 * GIB)
    monkeypatch.setattr(devices, "_cards", lambda visible: ())


def groups(folder: Path, lines: str, files: dict[str, str]) -> tuple[Path, Path]:
    """The file of a process's groups, and the tree of control groups."""
    own, mounted = folder / "cgroup", folder / "mounted"
    own.write_text(lines)
    for name, text in files.items():
        (mounted / name).parent.mkdir(parents=True, exist_ok=True)
        (mounted / name).write_text(text)
    return own, mounted


def test_without_quotas_it_is_the_machine(tmp_path: Path) -> None:
    found = here(tmp_path / "none", tmp_path / "nothing")
    assert (found.cpus, found.memory, found.gpus, found.card_bytes, found.count) == (32, 64 * GIB, 0, 0, 1)
    assert found.name == os.uname().nodename
    free = {"cpu.max": "max 100000\n", "memory.max": "max\n", "a/cpu.max": "max 100000\n", "a/memory.max": "max\n"}
    assert here(*groups(tmp_path, "0::/a\n", free)) == found
    endless = {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}
    endless["memory/memory.limit_in_bytes"] = "9223372036854771712\n"
    assert here(*groups(tmp_path / "..", "3:cpu,cpuacct:/\n2:memory:/\n", {})) == found
    assert here(*groups(tmp_path, "3:cpu:/\n2:memory:/\n0::/\n", endless)) == found


def test_the_tightest_quota_on_the_way_to_the_root_counts(tmp_path: Path) -> None:
    files = {
        "slurm/cpu.max": "1600000 100000\n",
        "slurm/memory.max": f"{40 * GIB}\n",
        "slurm/job/cpu.max": "max 100000\n",
        "slurm/job/memory.max": "max\n",
        "slurm/job/step/cpu.max": "450000 100000\n",
        "slurm/job/step/memory.max": f"{48 * GIB}\n",
        "other/cpu.max": "100000 100000\n",
        "other/memory.max": f"{GIB}\n",
    }
    found = here(*groups(tmp_path, "0::/slurm/job/step\n", files))
    assert (found.cpus, found.memory) == (4, 40 * GIB), "whole cores; a neighbour's quotas aren't ours"


def test_version_1_has_a_tree_for_each_controller(tmp_path: Path) -> None:
    files = {
        "cpu,cpuacct/box/cpu.cfs_quota_us": "200000\n",
        "cpu,cpuacct/box/cpu.cfs_period_us": "100000\n",
        "memory/box/inner/memory.limit_in_bytes": "9223372036854771712\n",
        "memory/box/memory.limit_in_bytes": f"{8 * GIB}\n",
    }
    lines = "4:memory:/box/inner\n3:cpu,cpuacct:/box\n1:name=systemd:/\n0::/\n"
    found = here(*groups(tmp_path, lines, files))
    assert (found.cpus, found.memory) == (2, 8 * GIB)


def test_in_a_container_the_path_may_be_the_hosts(tmp_path: Path) -> None:
    files = {"memory/memory.limit_in_bytes": f"{6 * GIB}\n", "cpu.max": "50000 100000\n"}
    found = here(*groups(tmp_path, "4:memory:/docker/0123\n0::/docker/0123\n", files))
    assert (found.cpus, found.memory) == (1, 6 * GIB), "at least one core"


def test_cards_are_those_that_the_process_sees(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    small, big = 40960 * 2**20, 81559 * 2**20
    assert seen_cards(LISTING, None) == (big, small, big)
    assert seen_cards(LISTING, "1") == (small,)
    assert seen_cards(LISTING, "2,0") == (big, big)
    assert seen_cards(LISTING, "GPU-bb,0") == (small, big)
    assert seen_cards(LISTING, "0,7,1") == (big,), "CUDA stops at a name that no card has"
    assert seen_cards(LISTING, "") == seen_cards(LISTING, "-1") == ()
    monkeypatch.setattr(devices, "_cards", lambda visible: seen_cards(LISTING, visible))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    found = here(tmp_path / "none", tmp_path / "nothing")
    assert (found.gpus, found.card_bytes) == (2, small), "the smallest where they differ"


def test_a_machine_of_a_named_card() -> None:
    found = machine_with("a10g-24", 4)
    assert (found.gpus, found.card_bytes) == (4, 23028 * 2**20)
    with pytest.raises(ApetError, match=r"'a100'.*did you mean a100-.*h200-141"):
        machine_with("a100", 1)
    with pytest.raises(ApetError, match="at least 1"):
        machine_with("t4-16", 0)
