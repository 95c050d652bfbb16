"""What a tokenizer must be for its backbone, and what identifies it."""

from __future__ import annotations

import hashlib
from typing import Any

from trials.backbones import drawn
from trials.canonical import canonical
from trials.errors import ApetError
from trials.trial import BackboneRef

SPARE = 512  # rows of a table without a token: padding to a round size (T5: 28, BLOOM: 200); more is another model's
NEEDED = {  # to pad, to frame a text or a pair, to end what is generated
    "bert": ("pad_token", "cls_token", "sep_token"),
    "bloom": ("pad_token", "eos_token"),
    "t5": ("pad_token", "eos_token"),
}


def check(tokenizer: Any, config: Any, ref: BackboneRef, location: str) -> None:
    """A backbone's own tokenizer fits its embedding table, ends a text with its token, has what training asks for.

    Of the ids that a model's config names, EOS alone is compared: BERT's config has none of its special tokens but
    the padding, and what pads is often changed in one of the two files.

    Args:
        tokenizer: as read.
        config: of the model that was read with it.
        ref: the backbone.
        location: where both were found, for the message.

    Raises:
        ApetError: it is another model's, or lacks a special token.
    """
    own = "put the one that belongs to these weights there"
    tokens, rows = max(tokenizer.get_vocab().values(), default=-1) + 1, ref.shape.vocab
    if not (0 if drawn(ref) else rows - SPARE) <= tokens <= rows:
        raise ApetError(
            f"{location}: its tokenizer has {tokens} tokens and the embedding table of {ref.name} {rows} rows, of "
            f"which {SPARE} at most may be spare: it is the tokenizer of another model; {own}"
        )
    for name in (*NEEDED[ref.family], *(["mask_token"] if ref.family == "bert" and ref.shape.lm_head else [])):
        if getattr(tokenizer, f"{name}_id") is None:
            raise ApetError(
                f"{location}: its tokenizer has no {name}, which {ref.family} needs; name it in tokenizer_config.json, "
                f"or, if it is the tokenizer of another model, {own}"
            )
    eos, ends = tokenizer.eos_token_id, getattr(config, "eos_token_id", None)
    if None not in (eos, ends) and eos not in (ends if isinstance(ends, list) else [ends]):
        raise ApetError(
            f"{location}: its tokenizer ends a text with token {eos} ({tokenizer.eos_token}) and the model's config "
            f"with {ends}, which must be the same: it is the tokenizer of another model; {own}, or correct "
            "eos_token_id in config.json"
        )


def vocabulary(tokenizer: Any) -> str:
    """20 hex digits over a tokenizer's tokens and their ids."""
    return _digest(canonical(sorted(tokenizer.get_vocab().items())))


def definition(tokenizer: Any) -> str:
    """20 hex digits over all that decides which tokens a text becomes, the special ones included."""
    fast = getattr(tokenizer, "backend_tokenizer", None)
    # in Python there is no state to read: its class does the rest
    splits = f"{type(tokenizer).__name__} {vocabulary(tokenizer)}" if fast is None else fast.to_str()
    special = {name: tokenizer.convert_tokens_to_ids(token) for name, token in tokenizer.special_tokens_map.items()}
    return _digest(canonical([splits, special, tokenizer.all_special_tokens]))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:20]
