"""Greedy generation of a pack: the best token each time, until the last row has ended; ended ones leave the batch.

The modules' hooks see a batch as K slices of equal length. So a row leaves when it has ended in every slice, and a
slice when all its rows have. Where ranks need each other in each pass, one that is done goes on until all are. The
tokens are those of transformers' ``generate`` with neither sampling nor beams.
Shapes: K slices, b rows a slice, R = K·b rows of the batch, s positions, v vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from workers.modules.sharing import repeat

WHOLE = nullcontext()  # a first pass of K·b rows
ROWS = 4  # of a slice, at least: a product of fewer takes another kernel on a CPU, and a row's last bits change with it


@dataclass(frozen=True)
class Limit:
    """When a text ends.

    Args:
        tokens: at most so many; no pass follows the last one.
        eos: the token that ends a text, itself a part of it; None: only ``tokens`` does.
        pad: what stands behind a text's end.
    """

    tokens: int
    eos: int | None
    pad: int


@dataclass
class State:
    """What the next pass needs of those before it.

    Args:
        mask_Rs: which positions are no padding: of the prompt and what followed (BLOOM), of the encoder's input (T5).
        cache: transformers' own, R rows; None where no pass follows.
        encoded_Rsd: T5: the encoder's output.
    """

    mask_Rs: Tensor
    cache: Any
    encoded_Rsd: Tensor | None = None

    def widen(self, k: int, rows: int) -> None:
        """Repeat what the first pass has of one slice for all: the next one's differ from their first token on."""
        if len(self.mask_Rs) == rows:
            return
        self.mask_Rs = repeat(self.mask_Rs, k)
        if self.encoded_Rsd is not None and len(self.encoded_Rsd) < rows:
            self.encoded_Rsd = repeat(self.encoded_Rsd, k)
        for layer in _layers(self.cache):
            if len(layer.keys) < rows:
                layer.keys, layer.values = repeat(layer.keys, k), repeat(layer.values, k)

    def keep(self, rows: Tensor) -> None:
        """Leave all rows but these, which stay in their order."""
        self.mask_Rs = self.mask_Rs[rows]
        self.cache.batch_select_indices(rows)
        if self.encoded_Rsd is not None:
            self.encoded_Rsd = self.encoded_Rsd[rows]


def greedy(
    model: nn.Module,
    inputs: Mapping[str, Any],
    k: int,
    limit: Limit,
    stay: Callable[[list[int]], None],
    fork: AbstractContextManager[None] = WHOLE,
    some: Callable[[bool], bool] = bool,
) -> Tensor:
    """The tokens of every row, [K·b, at most ``limit.tokens``], without prompt and start token.

    Args:
        model: BLOOM or T5 with a language-model head.
        inputs: ``attention_mask`` and ``input_ids`` or ``inputs_embeds`` (T5: or ``encoder_outputs``), K·b rows, or b.
        k: slices.
        limit: when a text ends.
        stay: told which slices the passes from here on have, as indices into those before.
        fork: around the first pass; of b rows it makes K·b on the way.
        some: told at each token whether rows go on here, it says whether any do, where ranks need each other.
    """
    with fork:
        logits_Rv, state = first(model, inputs, cached=limit.tokens > 1)
    state.widen(k, len(logits_Rv))
    tokens = logits_Rv.new_full((len(logits_Rv), limit.tokens), limit.pad, dtype=torch.int64)
    place_R = torch.arange(len(tokens), device=tokens.device)  # in ``tokens``, of the rows that are still there
    runs_R = torch.ones_like(place_R, dtype=torch.bool)
    for n in range(limit.tokens):
        best_R = logits_Rv.argmax(-1).where(runs_R, limit.pad)
        tokens[place_R, n] = best_R
        if n + 1 == limit.tokens:
            break
        if limit.eos is not None:
            runs_R = runs_R & (best_R != limit.eos)
            slices, kept_b = _left(runs_R.view(k, -1).tolist())
            if not some(bool(slices)):
                return tokens[:, : n + 1]
            slices = slices or [0]
            b = len(runs_R) // k
            if len(slices) * len(kept_b) < len(runs_R):
                rows_R = torch.tensor([i * b + j for i in slices for j in kept_b], device=tokens.device)
                best_R, place_R, runs_R = best_R[rows_R], place_R[rows_R], runs_R[rows_R]
                state.keep(rows_R)
            if len(slices) < k:
                stay(slices)
                k = len(slices)
        logits_Rv = following(model, best_R, state)
    return tokens


def first(model: nn.Module, inputs: Mapping[str, Any], *, cached: bool) -> tuple[Tensor, State]:
    """The pass over what is given: logits [R, v] of the first token, and what the next pass needs."""
    config: Any = model.config
    mask_Rs = inputs["attention_mask"]
    if not config.is_encoder_decoder:
        out = model(**inputs, use_cache=cached, logits_to_keep=1)
        return out.logits[:, -1], State(mask_Rs, out.past_key_values)
    start = mask_Rs.new_full((len(mask_Rs), 1), config.decoder_start_token_id)
    out = model(**inputs, decoder_input_ids=start, use_cache=cached)
    return out.logits[:, -1], State(mask_Rs, out.past_key_values, out.encoder_last_hidden_state)


def following(model: nn.Module, tokens_R: Tensor, state: State) -> Tensor:
    """The pass over one token of every row: logits [R, v] of the next one."""
    read: dict[str, Any] = {"past_key_values": state.cache, "use_cache": True}
    if state.encoded_Rsd is None:
        state.mask_Rs = torch.cat([state.mask_Rs, torch.ones_like(state.mask_Rs[:, :1])], 1)
        read |= {"input_ids": tokens_R[:, None]}
    else:
        read |= {"decoder_input_ids": tokens_R[:, None], "encoder_outputs": (state.encoded_Rsd,)}
    logits: Tensor = model(attention_mask=state.mask_Rs, **read).logits[:, -1]
    return logits


def _layers(cache: Any) -> list[Any]:
    """Of all attention that is cached, self-attention and T5's cross-attention."""
    if cache is None:
        return []
    parts = [cache] if hasattr(cache, "layers") else [cache.self_attention_cache, cache.cross_attention_cache]
    return [layer for part in parts for layer in part.layers]


def _left(runs_Kb: list[list[bool]]) -> tuple[list[int], list[int]]:
    """The slices, and the rows of each, that the next pass needs; none when all have ended."""
    slices = [i for i, runs_b in enumerate(runs_Kb) if any(runs_b)]
    running = [any(runs_K) for runs_K in zip(*runs_Kb, strict=True)]
    by_need = sorted(range(len(running)), key=lambda j: not running[j])
    return slices, sorted(by_need[: max(sum(running), ROWS)])
