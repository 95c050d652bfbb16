"""Bytes that are free: the machine's, or what the tightest control group on the way to the root leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from workers.free import free_bytes

MIB = 2**20
NAMES = {1: ("memory.limit_in_bytes", "memory.usage_in_bytes"), 2: ("memory.max", "memory.current")}


def machine(root: Path, groups: str, available: int = 900) -> tuple[Path, Path]:
    """/proc of a machine with so many MiB available, and an empty /sys/fs/cgroup."""
    proc = root / "proc"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(f"MemTotal: 1024000 kB\nMemFree: 5 kB\nMemAvailable: {available * 1024} kB\n")
    (proc / "self" / "cgroup").write_text(groups)
    return proc, root / "cgroup"


def group(folder: Path, version: int, limit: str, used: int, files: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in zip(NAMES[version], (limit, str(used * MIB)), strict=True):
        (folder / name).write_text(value + "\n")
    (folder / "memory.stat").write_text(f"anon 1\n{'total_' if version == 1 else ''}inactive_file {files * MIB}\n")


def test_without_limits_it_is_the_machines(tmp_path: Path) -> None:
    proc, mounted = machine(tmp_path, "0::/a\n")
    group(mounted / "a", 2, "max", 300)
    assert free_bytes("cpu", proc, mounted) == 900 * MIB


@pytest.mark.parametrize(
    ("groups", "folder", "version"), [("0::/a/b\n", "", 2), ("3:memory:/a/b\n0::/\n", "memory", 1)]
)
def test_the_tightest_group_counts_and_files_in_memory_can_go(
    groups: str, folder: str, version: int, tmp_path: Path
) -> None:
    proc, mounted = machine(tmp_path, groups)
    group(mounted / folder / "a", version, str(500 * MIB), 400, files=50)
    group(mounted / folder / "a" / "b", version, str(9000 * MIB), 100)
    assert free_bytes("cpu", proc, mounted) == 150 * MIB


def test_in_a_container_the_root_is_its_own_group(tmp_path: Path) -> None:
    proc, mounted = machine(tmp_path, "0::/of/the/host\n")
    group(mounted, 2, str(200 * MIB), 300)
    assert free_bytes("cpu", proc, mounted) == 0


def test_where_nobody_says_nothing_is_free(tmp_path: Path) -> None:
    assert free_bytes("cpu", tmp_path, tmp_path) == 0
    assert free_bytes("cpu") > 0 or not Path("/proc/meminfo").exists()
