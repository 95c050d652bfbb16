"""How fast cards compute and exchange weights: what times of a plan rest on where nothing is measured.

Peaks are those of the makers' data sheets, dense products in bf16 (of T4 and V100, which have none, in fp16); links are
what collective calls sustain, by common measurements of NCCL, not the sum of both directions that data sheets print.
None of this was measured here.
"""

from __future__ import annotations

from dataclasses import dataclass

PCIE = 12e9  # bytes a second of a card to another one over PCIe 4, and to the machine's memory
NETWORK = 1.2e9  # bytes a second of a machine from another one: 10 Gbit/s, as rented ones with few cards have at least
SUSTAINED = 1 / 3  # of a peak, by training from its start to its end


@dataclass(frozen=True)
class Speed:
    """A kind of card.

    Args:
        peak: operations a second.
        link: bytes a second that a card takes in from the others of its machine.
    """

    peak: float
    link: float = PCIE

    @property
    def flops(self) -> float:
        """Operations a second, sustained."""
        return self.peak * SUSTAINED


SPEEDS = {
    "t4-16": Speed(65e12),
    "v100-16": Speed(125e12, 120e9),
    "v100-32": Speed(125e12, 120e9),
    "a10g-24": Speed(70e12),
    "l4-24": Speed(121e12),
    "l40s-48": Speed(362e12),
    "a100-40": Speed(312e12, 200e9),
    "a100-80": Speed(312e12, 200e9),
    "h100-80": Speed(989e12, 350e9),
    "h200-141": Speed(989e12, 350e9),
}
"""Speeds of the cards that ``orchestrator.planning.devices`` knows."""
UNKNOWN = Speed(300e12)  # about an A100, without its links


def speed(card: str) -> Speed:
    """Of a kind of card by its name; of one that isn't known, or has no name, :data:`UNKNOWN`."""
    return SPEEDS.get(card, UNKNOWN)
