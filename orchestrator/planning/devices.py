"""The machines that packs may run on, as the planner sees them, and what this one may use of itself.

A container or a batch system gives a process a part of the machine: by affinity, and by quotas of control groups on
CPU time and memory. The tightest on the way from the process's own group to the root counts, in version 2 of cgroups
(``cpu.max``, ``memory.max``) and in version 1 (``cpu.cfs_quota_us``, ``memory.limit_in_bytes``).
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from orchestrator.text import GIB
from trials.errors import ApetError, choices
from trials.processor import processor

CARDS = {  # MiB that each has for programs, as nvidia-smi says
    "t4-16": 15_360,
    "v100-16": 16_384,
    "v100-32": 32_768,
    "a10g-24": 23_028,
    "l4-24": 23_034,
    "l40s-48": 46_068,
    "a100-40": 40_960,
    "a100-80": 81_920,
    "h100-80": 81_559,
    "h200-141": 143_771,
}
CPUS_A_CARD, MEMORY_A_CARD = 8, 128 * GIB  # of machines that are only thought of; common where cards are rented
CGROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")


@dataclass(frozen=True)
class Machine:
    """One kind of machine.

    Args:
        cpus: cores that may be used.
        memory: bytes that may be used.
        gpus: cards, 0 on a machine without.
        card_bytes: memory of one card, of the smallest where they differ; 0 without.
        count: how many such machines there are, or may be.
        name: for people: a host's name, a node type's.
        processor: name of its CPU, empty where it isn't known.
        card: kind of its cards, a name in :data:`CARDS`; empty where it isn't known.
        price: dollars an hour of one such machine; 0 where nobody has said.
        node_type: of a cluster, as its nodes' label says it; empty where there is none.
    """

    cpus: int
    memory: int
    gpus: int = 0
    card_bytes: int = 0
    count: int = 1
    name: str = ""
    processor: str = ""
    card: str = ""
    price: float = 0.0
    node_type: str = ""


def machine_with(card: str, gpus: int) -> Machine:
    """A machine of so many cards, with CPUs and memory as such machines have.

    Raises:
        ApetError: an unknown card, or none.
    """
    if card not in CARDS:
        raise ApetError(f"GPU {card!r} is not in the table of cards; {choices(card, CARDS)}")
    if gpus < 1:
        raise ApetError(f"{gpus} GPUs of {card}: at least 1; without --gpu this machine is planned for")
    cpus, memory = CPUS_A_CARD * gpus, MEMORY_A_CARD * gpus
    return Machine(cpus, memory, gpus, CARDS[card] * 2**20, name=f"a machine with {card}", card=card)


ASSUMED = replace(machine_with("a100-80", 8), name="an assumed machine")
"""What is planned for where no machine is large enough."""


def here(groups: Path = OWN_GROUPS, mounted: Path = CGROUPS) -> Machine:
    """What this process may use of this machine.

    Args:
        groups: the file that names the process's control groups.
        mounted: where control groups are.
    """
    cards = _cards(os.environ.get("CUDA_VISIBLE_DEVICES"))
    return Machine(
        cpus=max(1, min([_affinity(), *_cpu_quotas(groups, mounted)])),
        memory=min([_physical(), *_memory_limits(groups, mounted)]),
        gpus=len(cards),
        card_bytes=min(cards, default=0),
        name=socket.gethostname(),
        processor=processor(),
    )


def _affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _physical() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _cpu_quotas(groups: Path, mounted: Path) -> Iterator[int]:
    """Whole cores that every control group of the process allows, if it limits them."""
    for folder in _folders("cpu", groups, mounted):
        quota, period = [*_words(folder / "cpu.max"), "", ""][:2]
        if not quota:
            (quota,) = _words(folder / "cpu.cfs_quota_us") or [""]
            (period,) = _words(folder / "cpu.cfs_period_us") or [""]
        if quota.isdecimal() and period.isdecimal():  # not "max", not -1
            yield int(quota) // int(period)


def _memory_limits(groups: Path, mounted: Path) -> Iterator[int]:
    """Bytes that every control group of the process allows; version 1 writes a huge number for no limit."""
    for folder in _folders("memory", groups, mounted):
        for name in ("memory.max", "memory.limit_in_bytes"):
            (limit,) = _words(folder / name) or [""]
            if limit.isdecimal():
                yield int(limit)


def _folders(controller: str, groups: Path, mounted: Path) -> Iterator[Path]:
    """Folders of a controller's groups from the process's own up to the root, those of both versions.

    In a container the path may be the host's, which isn't mounted: then the root is the container's own group.
    """
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        lines = []
    roots = {mounted: "/"}
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            roots[mounted] = path
            roots[mounted / "unified"] = path  # beside version 1
        elif controller in controllers.split(","):
            roots[mounted / controller] = roots[mounted / controllers] = path
    for root, path in roots.items():
        own = root / path.lstrip("/")
        yield from (folder for folder in (own, *own.parents) if folder == root or root in folder.parents)


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []


@cache
def _cards(visible: str | None) -> tuple[int, ...]:
    """Bytes of this machine's GPUs, those that ``CUDA_VISIBLE_DEVICES`` names where it is set."""
    if shutil.which("nvidia-smi") is None:
        return ()
    command = ["nvidia-smi", "--query-gpu=index,uuid,memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        return seen_cards(done.stdout, visible)
    except (OSError, ValueError, subprocess.SubprocessError):
        return ()


def seen_cards(listing: str, visible: str | None) -> tuple[int, ...]:
    """Bytes of the GPUs in a listing of ``index, uuid, MiB``, a line each, that a process sees.

    Args:
        listing: of ``nvidia-smi``.
        visible: ``CUDA_VISIBLE_DEVICES``: indices or beginnings of uuids; None: all. What comes after a name that no
            GPU has isn't seen either: so CUDA has it.

    Raises:
        ValueError: a line of another form.
    """
    found = [tuple(word.strip() for word in line.split(",")) for line in listing.splitlines() if line.strip()]
    sizes = {(index, uuid): int(mib) * 2**20 for index, uuid, mib in found}
    if visible is None:
        return tuple(sizes.values())
    seen = []
    for name in (word.strip() for word in visible.split(",")):
        matching = [size for (index, uuid), size in sizes.items() if name and (name == index or uuid.startswith(name))]
        if not matching:
            break
        seen.append(matching[0])
    return tuple(seen)
