"""Soft tokens: units at the site ``soft_tokens`` are trained rows, where the words' embeddings enter.

Every row of a batch becomes [padding][soft tokens][text], with mask 0 on the padding, so that slices with prompts of
different lengths, or with none, run in one batch. They are not counted in the text's length, and not read off.
Shapes: K slices of b rows, n soft tokens in the longest prompt, s positions of text, d width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from trials.errors import ApetError
from trials.modules.positions import Cut, Group, Layout
from trials.modules.sites import SOFT_TOKENS
from trials.trial import BackboneRef
from workers.backbone.load import Backbone


def embedded(layout: Layout, backbone: Backbone) -> Layout:
    """The layout with its soft tokens' initial values: rows of the embedding table, as float32."""

    def look_up(token_ids: Sequence[int]) -> np.ndarray:
        ids = torch.tensor(token_ids, device=backbone.device)
        rows: np.ndarray = _words(backbone.model)(ids).detach().float().cpu().numpy()
        return rows

    def group(x: Group) -> Group:
        return x if x.token_ids is None else replace(x, init=look_up(x.token_ids.tolist()))

    def cut(x: Cut | None) -> Cut | None:
        return x if x is None or x.token_id is None else replace(x, row=look_up([x.token_id])[0])

    ops = (replace(op, groups=tuple(map(group, op.groups)), cut=cut(op.cut)) for op in layout.ops)
    return Layout(tuple(ops))


def length(layout: Layout) -> int:
    """Soft tokens in front of the text, one that trains in part included."""
    groups = [g for op in layout.ops for g in op.groups if g.site.kind == SOFT_TOKENS]
    cuts = [op.cut for op in layout.ops if op.cut is not None and op.cut.site.kind == SOFT_TOKENS]
    return sum(len(g.units) for g in groups) + len(cuts)


def check_room(layout: Layout, ref: BackboneRef, longest: int) -> None:
    """Refuse a prompt that the backbone's position table can't hold beside the longest text.

    Raises:
        ApetError: it names both lengths and the table's.
    """
    n, held = length(layout), ref.shape.positions
    if n and held and n + longest > held:
        room = held - longest
        use = f"use at most {room} soft tokens here (key tokens)"
        none = "no room for any: take a task with shorter texts, or another backbone"
        raise ApetError(
            f"{n} soft tokens before a text of {longest} tokens: {ref.name} has {held} positions; "
            f"{use if room > 0 else none}"
        )


def enter(
    inputs: Mapping[str, Tensor], prompts_K: Sequence[Tensor | None], model: nn.Module, family: str
) -> tuple[dict[str, Tensor], int]:
    """The inputs of a backbone with every slice's soft tokens before its text, after any padding on the left.

    Args:
        inputs: ``input_ids``, ``attention_mask``, maybe ``token_type_ids``, each [K·b, s].
        prompts_K: [≤ n, d] per slice, None for a slice without soft tokens.
        model: the backbone.
        family: bert counts its positions from here on by the mask.

    Returns:
        the inputs, with ``inputs_embeds`` [K·b, n + s, d] in place of ``input_ids``; and n, the positions to leave
        out of the output: the last s are the text's, aligned as they were.
    """
    text_Rsd, mask_Rs = _words(model)(inputs["input_ids"]), inputs["attention_mask"]
    n = max(len(p) for p in prompts_K if p is not None)
    b = len(mask_Rs) // len(prompts_K)
    fronts = [_front(p, n, text_Rsd) for p in prompts_K]
    front_Rnd = torch.cat([front.expand(b, -1, -1) for front, _ in fronts])
    real_Rn = torch.cat([real.to(mask_Rs).expand(b, -1) for _, real in fronts])

    left_R = (mask_Rs.cumsum(1) == 0).sum(1)  # padding before the text
    rows = torch.arange(len(mask_Rs), device=mask_Rs.device)[:, None]
    columns = left_R[:, None] + torch.arange(n, device=mask_Rs.device)
    mask = pad(mask_Rs, (n, 0)).index_put((rows, columns), real_Rn)
    found = {"inputs_embeds": pad(text_Rsd, (0, 0, n, 0)).index_put((rows, columns), front_Rnd), "attention_mask": mask}
    if "token_type_ids" in inputs:
        found["token_type_ids"] = pad(inputs["token_type_ids"], (n, 0))
    if family == "bert":
        found["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
    return found, n


def _words(model: nn.Module) -> nn.Module:
    """The table of word embeddings; T5's encoder and decoder share it."""
    table: nn.Module = model.get_input_embeddings()  # type: ignore[operator]  # transformers' mixin is untyped
    return table


def _front(prompt: Tensor | None, n: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """[1, n, d] padding and soft tokens of one slice, and the mask [1, n] that tells them apart."""
    if prompt is None:
        return like.new_zeros(1, n, like.shape[-1]), like.new_zeros(1, n)
    short = n - len(prompt)
    real = torch.arange(n, device=like.device)[None] >= short
    return pad(prompt.to(like.dtype), (0, 0, short, 0))[None], real
