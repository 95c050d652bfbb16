"""What machines of cloud providers have: CPUs, memory and cards by the name of their type.

Common types only: Amazon's as its pages say and ``describe-instance-types`` answers, Google's as its pages of machine
families say (2026). What a machine costs is no table: prices move, and are in the cluster file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from orchestrator.text import GIB


@dataclass(frozen=True)
class Shape:
    """What one machine has.

    Args:
        cpus: virtual ones.
        memory: bytes.
        gpus: cards.
        card: their kind, a name in ``orchestrator.planning.devices.CARDS``; empty without.
    """

    cpus: int
    memory: int
    gpus: int = 0
    card: str = ""


_CARDS_OF = {  # family: its cards, GiB of memory a CPU, and the cards of a size where it isn't one
    "g4dn": ("t4-16", 4, {"12xlarge": 4, "metal": 8}),
    "g5": ("a10g-24", 4, {"12xlarge": 4, "24xlarge": 4, "48xlarge": 8}),
    "g6": ("l4-24", 4, {"12xlarge": 4, "24xlarge": 4, "48xlarge": 8}),
    "gr6": ("l4-24", 8, {}),
    "g6e": ("l40s-48", 8, {"12xlarge": 4, "24xlarge": 4, "48xlarge": 8}),
    "p3dn": ("v100-32", 8, {"24xlarge": 8}),
    "p4d": ("a100-40", 12, {"24xlarge": 8}),
    "p4de": ("a100-80", 12, {"24xlarge": 8}),
    "p5e": ("h200-141", 32 / 3, {"48xlarge": 8}),
    "p5en": ("h200-141", 32 / 3, {"48xlarge": 8}),
}
_ODD = {  # types that follow no rule
    "p3.2xlarge": Shape(8, 61 * GIB, 1, "v100-16"),
    "p3.8xlarge": Shape(32, 244 * GIB, 4, "v100-16"),
    "p3.16xlarge": Shape(64, 488 * GIB, 8, "v100-16"),
    "p5.4xlarge": Shape(16, 256 * GIB, 1, "h100-80"),
    "p5.48xlarge": Shape(192, 2048 * GIB, 8, "h100-80"),
    "t3.medium": Shape(2, 4 * GIB),
    "g4dn.metal": Shape(96, 384 * GIB, 8, "t4-16"),
}
_PLAIN = re.compile(r"(?!c5n)[cmr][5-8](a|i|g|n|in|gn|d|ad|id|gd)*|t3a?")
_PER_CPU = {"c": 2, "m": 4, "r": 8, "t": 4}  # GiB
_SIZE = re.compile(r"(\d*)xlarge")

_GOOGLE = re.compile(r"((?:e2|n1|n2|n2d|c3)-(?:standard|highmem))-(\d+)")
_GOOGLE_PER_CPU = {"n1-standard": 3.75, "n1-highmem": 6.5}  # GiB; of others as their names say:
_GOOGLE_OTHERS = {"standard": 4.0, "highmem": 8.0}
_GOOGLE_CARDS = {  # machines whose cards are part of the type: cards, CPUs and GiB of each
    "a2-highgpu": ("a100-40", 12, 85),
    "a2-ultragpu": ("a100-80", 12, 170),
    "a3-highgpu": ("h100-80", 26, 234),
    "a3-ultragpu": ("h200-141", 28, 369),
}
_G2 = {4: 1, 8: 1, 12: 1, 16: 1, 32: 1, 24: 2, 48: 4, 96: 8}  # CPUs of g2-standard: its L4 cards
ACCELERATORS = {  # Google's names of cards that are added to an n1
    "nvidia-tesla-t4": "t4-16",
    "nvidia-tesla-v100": "v100-16",
    "nvidia-l4": "l4-24",
    "nvidia-tesla-a100": "a100-40",
    "nvidia-a100-80gb": "a100-80",
    "nvidia-h100-80gb": "h100-80",
}


def amazon(name: str) -> Shape | None:
    """An EC2 instance type; None where this table doesn't know it.

    >>> amazon("g5.xlarge")
    Shape(cpus=4, memory=17179869184, gpus=1, card='a10g-24')
    """
    if name in _ODD:
        return _ODD[name]
    family, _, size = name.partition(".")
    cpus = _cpus(size)
    if not cpus:
        return None
    if family in _CARDS_OF:
        card, per_cpu, several = _CARDS_OF[family]
        return Shape(cpus, int(cpus * per_cpu * GIB), several.get(size, 1), card)
    return Shape(cpus, cpus * _PER_CPU[family[0]] * GIB) if _PLAIN.fullmatch(family) else None


def _cpus(size: str) -> int:
    """Virtual CPUs of a size, the same in all families here; 0 for one that says nothing."""
    found = _SIZE.fullmatch(size)
    return 2 if size == "large" else 4 * int(found[1] or 1) if found else 0


def google(name: str) -> Shape | None:
    """A machine type of Google's, cards that are part of it included; None where this table doesn't know it.

    >>> google("a2-highgpu-1g").card
    'a100-40'
    """
    family, _, size = name.rpartition("-")
    if family in _GOOGLE_CARDS and size.endswith("g") and size[:-1].isdecimal():
        card, cpus, memory = _GOOGLE_CARDS[family]
        cards = int(size[:-1])
        return Shape(cpus * cards, memory * cards * GIB, cards, card)
    if family == "g2-standard" and size.isdecimal() and int(size) in _G2:
        return Shape(int(size), int(size) * 4 * GIB, _G2[int(size)], "l4-24")
    found = _GOOGLE.fullmatch(name)
    if not found:
        return None
    per_cpu = _GOOGLE_PER_CPU.get(found[1]) or _GOOGLE_OTHERS[found[1].partition("-")[2]]
    return Shape(int(found[2]), int(int(found[2]) * per_cpu * GIB))
