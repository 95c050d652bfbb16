"""BLOOM's attention by torch's fused kernels: its ALiBi is a bias that is added to the scores.

transformers 5.23 has BLOOM's attention as single products alone ("eager"), which keep heads · s² scores and
probabilities in every block. Here the bias of a pass is made once, where transformers makes the mask of an
implementation that it was told of, and all blocks read it. Outputs are eager's to rounding, those of padding included.
Shapes: R rows, a heads, q positions that ask, s positions that are read, w width of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionMaskInterface
from transformers.masking_utils import sdpa_mask
from transformers.models.bloom.modeling_bloom import BloomAttention, build_alibi_tensor

NAME = "alibi"
ALIGNED = {"cuda": 16}  # torch's kernels there copy a bias anew in every block unless its rows are multiples of so many


def fuse(model: nn.Module) -> None:
    """Let a BLOOM attend so; its weights and their names stay."""
    model.config._attn_implementation = NAME  # type: ignore[union-attr]  # by which transformers looks up the mask
    for module in model.modules():
        if isinstance(module, BloomAttention):
            module.__class__ = _Attention


class _Attention(BloomAttention):  # type: ignore[misc]  # transformers' is untyped
    def forward(
        self, hidden_states: Tensor, residual: Tensor, alibi: Tensor, attention_mask: Tensor, **more: Any
    ) -> tuple[Tensor, None]:
        """The block's input plus what attention reads [R, q, d]; ``attention_mask`` holds the bias, ALiBi included."""
        q_Raqw, k_Rasw, v_Rasw = self._reshape(self.query_key_value(hidden_states))
        if (cache := more.get("layer_past")) is not None:
            k_Rasw, v_Rasw = cache.update(k_Rasw, v_Rasw, self.layer_idx)
        if extra := attention_mask.shape[-1] - k_Rasw.shape[-2]:
            k_Rasw, v_Rasw = (pad(x, (0, 0, 0, extra)) for x in (k_Rasw, v_Rasw))
        read_Raqw = scaled_dot_product_attention(
            q_Raqw, k_Rasw, v_Rasw, attn_mask=attention_mask, scale=self.inv_norm_factor
        )
        out: Tensor = self.dense(read_Raqw.transpose(1, 2).flatten(2)) + residual
        return out, None


def _bias(
    *, config: Any, attention_mask: Tensor | None, batch_size: int, kv_length: int, dtype: torch.dtype, **more: Any
) -> Tensor:
    """[R, a, q, s] as transformers asks for a mask: ALiBi, and the lowest number where nothing may be read.

    It is no infinity: a position of padding, which may read nothing, then has a mean of all and not NaN. (Its gradient
    would be wrong, for the kernels' logarithms of sums lose the number of positions there; nobody reads its output.)
    """
    more["allow_is_causal_skip"] = False
    seen = sdpa_mask(attention_mask=attention_mask, batch_size=batch_size, kv_length=kv_length, **more)
    assert seen is not None, "never left out, for there is ALiBi"
    kind = seen.device.type
    if torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)  # a cast of it in every block would make the lowest number infinite
    if attention_mask is None:
        attention_mask = seen.new_ones(batch_size, kv_length, dtype=torch.int64)
    heads, lowest = config.num_attention_heads, torch.finfo(dtype).min
    alibi = build_alibi_tensor(attention_mask, heads, dtype).view(batch_size, heads, 1, kv_length)
    return pad(torch.where(seen, alibi, lowest), (0, -kv_length % ALIGNED.get(kind, 1)), value=lowest)


AttentionMaskInterface.register(NAME, _bias)
