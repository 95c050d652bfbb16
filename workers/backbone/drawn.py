"""Random weights at any size, drawn where they lie: 11 billion in seconds on a GPU, the same bits on every device.

For measuring speed and memory where no pretrained weights are. Scalar i of a tensor follows from the tensor's key and
from i alone (the words of SplitMix64: Steele, Lea, Flood, OOPSLA 2014), by whole-number arithmetic that wraps round,
one exact conversion and one product in float32. So devices agree to the bit, any part can be drawn by itself, and bf16
weights are the float32 ones rounded. Numbers are uniform: a normal one would need a logarithm, on which devices differ.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

import torch
from torch import Tensor

from trials.canonical import canonical
from trials.sources.tensors import Sizes, needed
from trials.trial import BackboneRef, Shape

BATCH = 2**20  # words at a time: 8 MiB, so that a batch stays in the cache of a GPU
_GOLDEN, _MIX_1, _MIX_2 = (x - 2**64 for x in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


class Drawn:
    """The tensors of a backbone of any size: norms 1, biases 0, the rest uniform by :func:`scale_of`."""

    def __init__(self, ref: BackboneRef) -> None:
        self._ref = ref
        self.shapes: Mapping[str, Sizes] = needed(ref)

    def fill(self, out: Tensor, name: str, start: int = 0) -> None:
        """See ``workers.backbone.source.TensorSource``."""
        sizes, weights = self.shapes[name], self._ref.weights
        if len(sizes) == 1:
            out.fill_(0.0 if name.endswith("bias") else 1.0)
            return
        key = hashlib.sha256(canonical([weights.name, weights.version, name]).encode()).digest()
        uniform(out, int.from_bytes(key[:8], "little"), start, scale_of(name, sizes, self._ref.shape))


def scale_of(name: str, sizes: Sizes, shape: Shape) -> float:
    """Standard deviation of one tensor of a random model.

    It keeps the signal through a linear layer (1/√d_in), so that a frozen random backbone still tells its inputs apart;
    T5 has no softmax scale, hence its query is smaller by √d_kv.
    """
    if "shared" in name:
        return 1.0
    if "embeddings" in name:  # BERT and BLOOM tie this to the output, so logits must stay small
        return 1 / math.sqrt(shape.d_model)
    scale = 1 / math.sqrt(sizes[1])
    return scale / math.sqrt(shape.d_kv) if name.endswith("Attention.q.weight") else scale


def uniform(out: Tensor, seed: int, start: int, deviation: float) -> None:
    """Fill a flat tensor with scalars ``start``, … of a stream: uniform around 0, of a standard deviation."""
    factor = float(torch.tensor(deviation * math.sqrt(3) / 2**23, dtype=torch.float32))
    word, skip = divmod(start, 2)  # a word has two scalars
    while out.numel():
        here = min(out.numel(), 2 * BATCH - skip)
        bits = words((here + skip + 1) // 2, seed, word, out.device).view(torch.int32)[skip : skip + here]
        place, out = out[:here], out[here:]
        place.copy_(bits.bitwise_right_shift_(8).to(torch.float32).mul_(factor))  # 24 bits, sign included: exact
        word, skip = word + BATCH, 0


def words(n: int, seed: int, first: int, device: torch.device) -> Tensor:
    """int64 [n]: the words ``first``, … of SplitMix64 with a seed of 64 bits."""
    z = torch.arange(first + 1, first + 1 + n, dtype=torch.int64, device=device)
    z.mul_(_GOLDEN).add_(_signed(seed))
    for shift, factor in ((30, _MIX_1), (27, _MIX_2), (31, None)):
        z.bitwise_xor_(z.bitwise_right_shift(shift).bitwise_and_(2 ** (64 - shift) - 1))  # the sign doesn't come along
        if factor is not None:
            z.mul_(factor)
    return z


def _signed(word: int) -> int:
    return word - 2**64 if word >= 2**63 else word
