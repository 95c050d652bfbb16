"""What a tokenizer must be for its backbone, and what identifies it."""

from __future__ import annotations

import hashlib
from typing import Any

from trials.errors import ApetError
from trials.trial import BackboneRef, canonical

SPARE = 0.1  # of the embedding table may have no token (it is padded to a round number); more is another model's


def check(tokenizer: Any, ref: BackboneRef, location: str) -> None:
    """A backbone's own tokenizer fits its embedding table and has the tokens that training asks for.

    Args:
        tokenizer: as read.
        ref: the backbone.
        location: where both were found, for the message.

    Raises:
        ApetError: it is another model's, or lacks a special token.
    """
    tokens, rows = max(tokenizer.get_vocab().values(), default=-1) + 1, ref.shape.vocab
    if not rows * (1 - SPARE) <= tokens <= rows:
        raise ApetError(
            f"{location}: its tokenizer has {tokens} tokens and the embedding table of {ref.name} {rows} rows: it "
            "is the tokenizer of another model; put the one that belongs to these weights there"
        )
    answers = "eos_token" if ref.family != "bert" else "mask_token" if ref.shape.lm_head else "pad_token"
    for name in ("pad_token", answers):
        if getattr(tokenizer, f"{name}_id") is None:
            raise ApetError(f"{location}: its tokenizer has no {name}, which {ref.family} needs; name it in its config")


def vocabulary(tokenizer: Any) -> str:
    """20 hex digits over a tokenizer's tokens and their ids."""
    return _digest(canonical(sorted(tokenizer.get_vocab().items())))


def definition(tokenizer: Any) -> str:
    """20 hex digits over all that decides how a tokenizer splits a text."""
    fast = getattr(tokenizer, "backend_tokenizer", None)
    if fast is None:  # in Python: its class does the rest
        return _digest(f"{type(tokenizer).__name__} {vocabulary(tokenizer)}")
    return _digest(fast.to_str())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:20]
