"""Sites: the places of a backbone where an operation can put tunable scalars, in canonical order.

Canonical order is block by block from the input to the output (T5: the encoder, then the decoder),
inside a block in the order of the forward pass. Soft tokens stand in front of all of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from trials.families import BLOCKS, EMBEDDING_NORM, FINAL_NORM, SOFT_TOKENS, check_family, linear_kinds
from trials.trial import BackboneRef, Shape

__all__ = ["SOFT_TOKENS", "TOKENS", "Site", "linear_kinds", "site_kinds", "sites", "sites_of"]

TOKENS = 100  # soft tokens, where nothing else is said: the default of OpenDelta, which the study's authors used


@dataclass(frozen=True)
class Site:
    """One place of a backbone: the output of a linear layer or of a norm, or the front of the sequence.

    Args:
        index: position in canonical order: the layers from 0, soft tokens -1.
        kind: what a sweep file calls it: ``q``, ``cross_q``, ``down``, ``norm``, …
        slot: which one of its block: the kind, but ``norm_o``, ``norm_q``, … for norms, after the
            linear layer that they stand beside, and ``norm_embedding``, ``norm_final``.
        block: number in its stack, from 0; -1 before the first block, the number of blocks for the final norm.
        stack: ``encoder`` or ``decoder``.
        d_in: width of the layer's input, of a soft token.
        d_out: width of the layer's output; 0 for soft tokens, which correct no output.
        name: ``encoder.3.q``; ``decoder.embedding.norm`` and ``decoder.final.norm`` at the ends;
            ``encoder.input.soft_tokens``.
        tokens: soft tokens that fit there, 0 at a layer.
    """

    index: int
    kind: str
    slot: str
    block: int
    stack: str
    d_in: int
    d_out: int
    name: str
    tokens: int = 0


def sites(ref: BackboneRef, tokens: int = 0) -> tuple[Site, ...]:
    """Every site of a backbone in canonical order: its linear layers and norms, before them room for soft tokens.

    Args:
        ref: the backbone.
        tokens: how many soft tokens may stand in front; 0 leaves their site out.

    Raises:
        ApetError: unknown family.
    """
    return sites_of(ref.family, ref.shape, tokens)


def site_kinds(family: str) -> tuple[str, ...]:
    """Every kind of site of a family, as sweep files name them.

    Raises:
        ApetError: unknown family.
    """
    return (SOFT_TOKENS, *linear_kinds(family), "norm")


@lru_cache(maxsize=64)
def sites_of(family: str, shape: Shape, tokens: int = 0) -> tuple[Site, ...]:
    """:func:`sites` for a family and a shape.

    Raises:
        ApetError: unknown family.
    """
    check_family(family)
    first = next(iter(BLOCKS[family]))  # T5: the encoder reads them
    name = f"{first}.input.{SOFT_TOKENS}"
    front = (Site(-1, SOFT_TOKENS, SOFT_TOKENS, -1, first, shape.d_model, 0, name, tokens),) if tokens else ()
    return front + tuple(
        Site(index, "norm" if slot.startswith("norm") else slot, slot, block, stack, *_widths(slot, shape), name)
        for index, (stack, block, slot, name) in enumerate(_slots(family, shape))
    )


def _slots(family: str, shape: Shape) -> Iterator[tuple[str, int, str, str]]:
    """(stack, block, slot, name) of every site, in canonical order."""
    for stack, slots in BLOCKS[family].items():
        blocks = shape.decoder_blocks if family == "t5" and stack == "decoder" else shape.blocks
        if family in EMBEDDING_NORM:
            yield stack, -1, "norm_embedding", f"{stack}.embedding.norm"
        for block in range(blocks):
            for slot in slots:
                yield stack, block, slot, f"{stack}.{block}.{slot}"
        if family in FINAL_NORM:
            yield stack, blocks, "norm_final", f"{stack}.final.norm"


def _widths(slot: str, shape: Shape) -> tuple[int, int]:
    """(d_in, d_out) of a slot."""
    attention = shape.heads * shape.d_kv
    if slot.startswith("norm"):
        return shape.d_model, shape.d_model
    return {
        "o": (attention, shape.d_model),
        "gate": (shape.d_model, shape.d_ff),
        "up": (shape.d_model, shape.d_ff),
        "down": (shape.d_ff, shape.d_model),
    }.get(slot.removeprefix("cross_"), (shape.d_model, attention))
