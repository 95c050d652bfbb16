"""What a forward pass keeps for the backward pass, by arithmetic on shapes.

The terms are the tensors that autograd saves in transformers' BERT, BLOOM and T5 v1.1 as the loader sets them (no
dropout; fused attention), read off one by one with ``saved_tensors_hooks``, each storage once; a test measures them
again. They are those of padded batches: where all rows are as long there is no mask, and a block of T5 keeps one table
of position biases for all rows. BLOOM's biases are there once, n·a·s² a row: all blocks read the same.

Notation: s positions of a row, t target positions, h d_model, A heads·d_kv, a heads, f d_ff; n bytes of what linear
layers multiply, r bytes of the residual stream. What a block keeps of a row when its weights are frozen and its input
needs a gradient:

========  ===================================================================================
BERT      s·(4A·n + 4a + 2r(h+2) + n·f) + n·s²
BLOOM     s·(4A·n + 4a + 2r(h+2) + n·f)
T5        s·(4A·n + 4a + 2·norm + 6n·f) + n·a·s²; norm = 4(h+1), in bf16 2h more
T5 dec.   the same over t without the last term, and t·(2A·n + 4a + norm) + 2A·n·s + n·a·s·t
========  ===================================================================================

``full`` keeps the inputs of all linear layers too, and T5's self-attention, whose bias then needs a gradient, runs
unfused: 12A·s + 4a·s² in float32. (So it does on a CPU. A GPU's fused kernel may keep less.)

With ``recompute`` a block keeps its input alone, s·h·r, and one block at a time all of this, on the way back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from heapq import nlargest
from math import ceil

from trials.trial import Shape

LOSS_BYTES = 12  # of a logit at the peak: before and after the selection, float32 copy, log-softmax, or their gradients
_MASKED_HEAD = 2  # BERT's logits at the mask are there twice: as such, and as their gradient
_MEMORY = ("cross_k", "cross_v")  # layers that read the encoder's output, not their own stack's positions


@dataclass(frozen=True)
class Correction:
    """What a trial puts on frozen layers, where it makes autograd keep more (``add`` keeps nothing).

    Args:
        op: ``concat``, which keeps a layer's input, or ``plug``, which keeps its output.
        kinds: of sites, all of which may carry units.
        units: of one trial, all sites together.
    """

    op: str
    kinds: frozenset[str]
    units: int


@dataclass(frozen=True)
class Pass:
    """One forward pass of a pack.

    Args:
        family: bert, bloom or t5.
        shape: of the backbone.
        rows: of the batch at once, those of all slices together.
        length: positions of a row: soft tokens and text, of BLOOM the target too.
        targets: target tokens of a row, its end included.
        product: bytes of a number that linear layers read and give: 2 in bf16, 4 in float32.
        full: whether the backbone's weights train: they are float32 then, under autocast where ``product`` is 2.
        corrections: of a trial on frozen weights.
        slices: trials of the pack.
        lowest: blocks that backward doesn't reach, counted from the input, T5's encoder before its decoder.
        recompute: whether blocks are computed again on the way back.
    """

    family: str
    shape: Shape
    rows: int
    length: int
    targets: int
    product: int
    full: bool = False
    corrections: tuple[Correction, ...] = ()
    slices: int = 1
    lowest: int = 0
    recompute: bool = False

    @property
    def autocast(self) -> bool:
        """Whether weights are float32 and products bf16."""
        return self.full and self.product == 2

    @property
    def stream(self) -> int:
        """Bytes of a number of the residual stream."""
        return 4 if self.full else self.product

    @property
    def inner(self) -> int:
        """Width of query, key and value."""
        return self.shape.heads * self.shape.d_kv

    @property
    def stacks(self) -> dict[str, int]:
        """Blocks that backward reaches, by stack."""
        shape = self.shape
        first = max(0, shape.blocks - self.lowest)
        if self.family != "t5":
            return {"decoder" if self.family == "bloom" else "encoder": first}
        skipped = max(0, self.lowest - shape.blocks)
        return {"encoder": first, "decoder": max(0, shape.decoder_blocks - skipped)}

    def positions(self, stack: str) -> int:
        """Positions of a row in a stack."""
        return self.targets if self.family == "t5" and stack == "decoder" else self.length


def saved_bytes(one: Pass) -> int:
    """Bytes at the peak of a pass: what all blocks and norms keep, corrections, and the loss over the vocabulary."""
    if one.recompute:
        inputs = (n * one.positions(stack) for stack, n in one.stacks.items())
        return one.rows * sum(inputs) * one.shape.d_model * one.stream + _ends(one) + loss_bytes(one)
    blocks = sum(n * block_bytes(one, stack) for stack, n in one.stacks.items())
    return blocks + _ends(one) + _corrections(one) + loss_bytes(one)


def recomputed_bytes(one: Pass) -> int:
    """Bytes that the block which is computed again keeps on the way back, when the loss is gone; 0 for other passes."""
    if not one.recompute:
        return 0
    shape = one.shape
    single = replace(one, shape=replace(shape, blocks=1, decoder_blocks=min(1, shape.decoder_blocks)), lowest=0)
    return max(block_bytes(one, stack) for stack in one.stacks) + _corrections(single)


def block_bytes(one: Pass, stack: str) -> int:
    """Bytes that one block keeps, without corrections.

    Args:
        one: the pass.
        stack: encoder or decoder; BERT has only the former, BLOOM only the latter.
    """
    s, f = one.positions(stack), one.shape.d_ff
    kept = s * (2 * _norm(one) + (6 if one.family == "t5" else 1) * one.product * f)
    kept += _self_attention(one, s, masked=one.family != "t5" or stack == "encoder")
    if one.family == "t5" and stack == "decoder":
        kept += s * _norm(one) + _fused_attention(one, s, one.length, masked=True)
    if one.full:
        kept += sum(size for _, size in _inputs(one, stack))
        if one.autocast and one.family == "t5" and stack == "decoder":
            kept += 2 * one.length * 2 * one.shape.d_model  # autocast copies what is no weight for every layer anew
    return one.rows * kept


def loss_bytes(one: Pass) -> int:
    """Bytes of logits and what the loss makes of them, at most at once: BERT's only at the mask."""
    if one.family == "bert":
        return _MASKED_HEAD * one.rows * one.shape.vocab * one.product if one.shape.lm_head else 0
    return LOSS_BYTES * one.rows * one.targets * one.shape.vocab


def _norm(one: Pass) -> int:
    """Bytes a position of a norm: its input and, of LayerNorm, mean and deviation.

    T5's works in float32: a copy of its input, the root, and the normalised input, which in bf16 is a second copy and
    in float32 is kept for the gradient of the weight alone.
    """
    h = one.shape.d_model
    if one.family != "t5":
        return one.stream * (h + 2)
    return 4 * (h + 1) + (one.stream * h if one.full or one.stream == 2 else 0)


def _self_attention(one: Pass, s: int, masked: bool) -> int:
    """Bytes a row: trained T5's is unfused, with scores and probabilities, softmax in float32."""
    a, inner, n = one.shape.heads, one.inner, one.product
    if one.family == "t5" and one.full:
        return 12 * inner * s + 4 * a * s * s + n * inner * s
    return _fused_attention(one, s, s, masked and one.family != "bloom")


def _fused_attention(one: Pass, queries: int, keys: int, masked: bool) -> int:
    """Bytes a row of sdpa: query, key, value, output, logarithms of sums in float32, and the mask.

    A mask is there in every block anew, for heads with T5's position biases in it.
    """
    a, n = one.shape.heads, one.product
    mask = n * queries * keys * (a if one.family == "t5" else 1) if masked else 0
    return 2 * n * one.inner * (queries + keys) + 4 * a * queries + mask


def _inputs(one: Pass, stack: str) -> Iterator[tuple[frozenset[str], int]]:
    """Inputs of a block's linear layers that nothing else keeps: the kinds of layers that share it, bytes a row.

    Attention's output is kept by fused attention. Under autocast the norms' outputs are float32, and every layer has
    its own copy in bf16.
    """
    h, n, s = one.shape.d_model, one.product, one.positions(stack)
    after_norm = [("q", "k", "v"), ("gate", "up") if one.family == "t5" else ("up",)]
    if one.family == "t5" and stack == "decoder":
        after_norm.append(("cross_q",))
    for kinds in after_norm:
        copies = len(kinds) if one.autocast and one.family != "bloom" else 1  # BLOOM's q, k, v are one layer
        yield frozenset(kinds), copies * n * h * s
    yield frozenset({"down"}), n * one.shape.d_ff * s


def _ends(one: Pass) -> int:
    """Bytes of the norms around the blocks, of BLOOM's biases and, where a layer reads it, of T5's encoder's output."""
    lengths = [one.positions(stack) for stack in one.stacks]
    kept = _norm(one) * (2 * one.length if one.family == "bloom" else sum(lengths))
    if one.family == "bloom":
        kept += one.product * one.shape.heads * one.length**2
    if one.family == "t5":
        reads = any(c.op == "concat" and c.kinds & {*_MEMORY} for c in one.corrections)
        kept += one.product * one.shape.d_model * one.length if reads or one.full else 0
    return one.rows * kept


def _corrections(one: Pass) -> int:
    """Bytes of what corrections read, at no more sites than they have units, and of their components."""
    return sum(_correction(one, c) for c in one.corrections)


def _correction(one: Pass, made: Correction) -> int:
    h, n = one.shape.d_model, one.product
    tensors: list[int] = []  # bytes a row of every tensor that is kept
    sites: list[int] = []  # positions of every site
    for stack, blocks in one.stacks.items():
        s = one.positions(stack)
        here = made.kinds if one.family == "t5" and stack == "decoder" else {k for k in made.kinds if "cross" not in k}
        sites += blocks * [one.length if kind in _MEMORY else s for kind in here]
        if made.op == "plug":
            tensors += blocks * [n * h * s] * len(here)
        else:
            tensors += blocks * [size for kinds, size in _inputs(one, stack) if kinds & here]
    if not sites:
        return 0
    components = ceil(made.units * sum(sites) / len(sites)) * n * (2 if made.op == "plug" else 1)
    return one.rows * (sum(nlargest(made.units * one.slices, tensors)) + components)
