"""Activation checkpointing: of a block the forward pass keeps what enters it, and the backward pass runs it again.

It is set on the blocks themselves, from the lowest one that a module touches: below, nothing is kept anyway. (What
transformers offers, ``gradient_checkpointing_enable``, makes the inputs require gradients, so that the backward pass
runs down to the embeddings.) The block's own hooks run once, those inside it twice: the repeats of what slices share
are outside, corrections and the gathering of shards inside. The bits are the same, for there is no dropout.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from torch.utils.checkpoint import checkpoint

from workers.backbone.load import Stack
from workers.modules.sharing import Place

_again = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)


@contextmanager
def recomputed(stacks: Sequence[Stack], place: Place) -> Iterator[None]:
    """Inside, blocks from ``place`` on are run in that way.

    Args:
        stacks: the backbone's, in the order of the forward pass; none: no block is.
        place: the lowest that a module touches.
    """
    at, lowest = place
    blocks = [block for n, stack in enumerate(stacks) for i, block in enumerate(stack.blocks) if (n, i) >= (at, lowest)]
    settings = {"gradient_checkpointing": True, "_gradient_checkpointing_func": _again, "training": True}
    for block in blocks:
        vars(block).update(
            settings
        )  # transformers asks for ``training``, of the block alone; those inside stay as they are
    try:
        yield
    finally:
        for block in blocks:
            vars(block).update(training=False)
            del vars(block)["gradient_checkpointing"], vars(block)["_gradient_checkpointing_func"]
