"""The three families as tables: what stands in a block, in the order of the forward pass."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from trials.errors import ApetError, choices

# Slots of one block, per stack. ``norm_x`` is the norm that stands directly before (BLOOM, T5) or
# directly after (BERT) the linear layer x. On T5 v1.1, ``gate`` is wi_0 and ``up`` is wi_1.
BLOCKS: Mapping[str, Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "bert": {"encoder": ("q", "k", "v", "o", "norm_o", "up", "down", "norm_down")},
        "bloom": {"decoder": ("norm_q", "q", "k", "v", "o", "norm_up", "up", "down")},
        "t5": {
            "encoder": ("norm_q", "q", "k", "v", "o", "norm_gate", "gate", "up", "down"),
            "decoder": (
                *("norm_q", "q", "k", "v", "o"),
                *("norm_cross_q", "cross_q", "cross_k", "cross_v", "cross_o"),
                *("norm_gate", "gate", "up", "down"),
            ),
        },
    }
)
EMBEDDING_NORM = ("bert", "bloom")  # families with a norm between the embeddings and the first block
FINAL_NORM = ("bloom", "t5")  # families with a norm after the last block of a stack
FAMILIES = tuple(BLOCKS)
SOFT_TOKENS = "soft_tokens"  # the site in front of the sequence, where a unit is a token


def check_family(family: str) -> None:
    """Refuse an unknown family.

    Raises:
        ApetError: with the valid ones.
    """
    if family not in BLOCKS:
        raise ApetError(f"family {family!r} is unknown; {choices(family, FAMILIES)}")


def linear_kinds(family: str) -> tuple[str, ...]:
    """Kinds of linear sites of a family, each once, in the order of the forward pass.

    Raises:
        ApetError: unknown family.
    """
    check_family(family)
    slots = (slot for stack in BLOCKS[family].values() for slot in stack if not slot.startswith("norm"))
    order = dict.fromkeys(slots)
    if "cross_q" in order:  # the encoder's block, seen first, lacks them: they stand between o and gate
        return tuple(slot for slot in BLOCKS[family]["decoder"] if slot in order)
    return tuple(order)
