"""Operations that a step executes in frozen layers: 2 for every weight and position forward, 2 more on the way back.

On the way back only activations have gradients, and only from the lowest touched block on: hence 4 a weight and
position, where training all weights takes 6. In T5 the text goes through the encoder and through the keys and values of
cross-attention, targets through the rest of the decoder. The output layer is computed where a target is predicted.
Embeddings are look-ups; scores of attention, norms and the modules themselves aren't counted, nor is anything that is
computed twice: a share of the peak by this rule says how much of the card went into what had to be done.
"""

from __future__ import annotations

from dataclasses import dataclass

from trials.modules.depth import block_number
from trials.modules.sites import Site, sites_of
from trials.trial import Shape

OF_TEXT = ("cross_k", "cross_v")  # layers of a decoder that read the encoder's output


@dataclass(frozen=True)
class Weights:
    """Weights of matrices: those that every position of a text goes through, every target, and the output layer's."""

    text: int
    targets: int
    head: int


def weights(family: str, shape: Shape, lowest: int = 0) -> Weights:
    """Those of the blocks from ``lowest`` on, T5's encoder's before its decoder's; the output layer comes after all."""
    matrices = [s for s in sites_of(family, shape) if s.kind != "norm" and block_number(s, shape) >= lowest]
    of_targets = [s for s in matrices if family == "t5" and s.stack == "decoder" and s.kind not in OF_TEXT]
    transform = shape.d_model**2 if family == "bert" else 0
    head = shape.vocab * shape.d_model + transform if shape.lm_head else 0
    return Weights(_sum(matrices) - _sum(of_targets), _sum(of_targets), head)


def executed(family: str, shape: Shape, rows: int, length: int, targets: int, lowest: int = 0) -> int:
    """Operations of a step, forward and back.

    Args:
        rows: of the batch.
        length: positions of a row, padding included, of BLOOM the target's too.
        targets: positions of a row at which something is predicted.
        lowest: the lowest touched block.
    """

    def products(of: Weights) -> int:
        return rows * (of.text * length + (of.targets + of.head) * targets)

    return 2 * products(weights(family, shape)) + 2 * products(weights(family, shape, lowest))


def _sum(some: list[Site]) -> int:
    return sum(site.d_in * site.d_out for site in some)
