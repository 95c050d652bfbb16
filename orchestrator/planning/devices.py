"""The machines that packs may run on, as the planner sees them."""

from __future__ import annotations

from dataclasses import dataclass


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
    """

    cpus: int
    memory: int
    gpus: int = 0
    card_bytes: int = 0
    count: int = 1
    name: str = ""
