"""Memory that is free now: what this process could still take of its card, or of its machine and control groups."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
FILES = (  # of both versions: the limit, what is used, and of that what is a file's and can go
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def free_bytes(device: str, proc: Path = PROC, mounted: Path = CGROUPS) -> int:
    """Bytes that are free; 0 where nobody says.

    Args:
        device: cpu or cuda.
        proc, mounted: where Linux tells of itself and of control groups.
    """
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    try:
        lines = dict(line.split(":") for line in (proc / "meminfo").read_text().splitlines())
        groups = [line.split(":", 2) for line in (proc / "self" / "cgroup").read_text().splitlines()]
    except OSError:
        return 0
    paths = [path for _, controllers, path in groups if controllers in ("", "memory")]
    return max(0, min([int(lines["MemAvailable"].split()[0]) * 1024, *_rooms(paths, mounted)]))


def _rooms(paths: list[str], mounted: Path) -> Iterator[int]:
    """What every group on the way to the root leaves; in a container only the root may be there."""
    for root in (mounted, mounted / "memory"):
        for own in (root / path.lstrip("/") for path in paths):
            for folder in (own, *own.parents):
                if folder.is_relative_to(root):
                    yield from _room(folder)


def _room(folder: Path) -> Iterator[int]:
    for limit, used, file in FILES:
        try:
            most, now = (int((folder / name).read_text()) for name in (limit, used))  # "max": no limit
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):
            continue
        yield most - now + int(stat.get(file, 0))
