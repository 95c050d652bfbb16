"""How deep a trial reaches into its backbone: below the lowest block that it touches, it is the frozen backbone."""

from __future__ import annotations

from functools import lru_cache

from trials.modules.positions import layout
from trials.modules.sites import Site
from trials.trial import Shape, Trial


def blocks_of(shape: Shape) -> int:
    """Transformer blocks of a backbone, T5's decoder's too."""
    return shape.blocks + shape.decoder_blocks


@lru_cache(maxsize=100_000)
def lowest_block(trial: Trial) -> int:
    """The lowest block that a trial touches, from shapes and seeds alone.

    Returns:
        its number from the input to the output, T5's decoder's blocks after its encoder's; 0 where the embeddings are
        touched (soft tokens, their norm, ``full``), and the number of blocks where only what comes after them is.
    """
    if trial.method.name == "full":
        return 0
    return min(block_number(site, trial.backbone.shape) for site in layout(trial, values=False).touched())


def block_number(site: Site, shape: Shape) -> int:
    """The block of a site as :func:`lowest_block` numbers them.

    What stands before a stack counts as its first block, and a final norm as the block after its stack's last: T5's
    encoder's is the decoder's first.
    """
    before = shape.blocks if site.stack == "decoder" and shape.decoder_blocks else 0
    return before + max(site.block, 0)
