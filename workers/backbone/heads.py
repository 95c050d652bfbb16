"""Heads of encoders, and the label words that every family is scored on."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from trials import streams
from trials.errors import ApetError
from trials.tasks.spec import Task


def label_words(task: Task, labels: str, family: str) -> tuple[str, ...]:
    """The words of a task's labels in class order, as plain text: its own, or ``0`` and ``1`` (unified)."""
    assert labels in ("own", "unified"), labels
    words = task.words[family] if labels == "own" else ("0", "1")
    return tuple(word.strip() for word in words)


def label_word_ids(task: Task, labels: str, family: str, tokenizer: Any) -> list[int]:
    """One token per label, in class order.

    Inside a text a word follows a space: BLOOM's token carries it, T5's the mark ``▁``, BERT's nothing. Where
    some word isn't one token in that form (T5 has no ``▁0``), all of them are taken without it.

    Raises:
        ApetError: a label word isn't one token of this tokenizer, or two labels share one.
    """
    words = label_words(task, labels, family)
    found: list[int | None] = []
    for prefix in {"bert": ("",), "bloom": (" ", ""), "t5": ("▁", "")}[family]:
        found = [_token(prefix + word, family, tokenizer) for word in words]
        if None not in found:
            break
    bad = [word for word, token in zip(words, found, strict=True) if token is None]
    if bad:
        raise ApetError(
            f"task {task.name}, {family}: label word {bad[0]!r} isn't one token of this tokenizer "
            f"({tokenizer.tokenize(bad[0])}); choose another word in trials/tasks/{task.name}.py"
        )
    ids = [token for token in found if token is not None]
    if len(set(ids)) != len(ids):
        raise ApetError(f"task {task.name}, {family}: label words {words} share a token; they must differ")
    return ids


def frozen_head(n_labels: int, d_model: int, head_scale: float, train_seed: int) -> torch.Tensor:
    """Initial head W ~ N(0, head_scale²), float32 [n_labels, d_model], from the stream (train seed, "head")."""
    values = streams.normal(n_labels * d_model, train_seed, "head") * head_scale
    return torch.from_numpy(values.astype(np.float32)).view(n_labels, d_model)


def _token(text: str, family: str, tokenizer: Any) -> int | None:
    """The id of a text that is exactly one token, else None.

    T5's pieces are looked up as they stand: encoding would put a ``▁`` in front.
    """
    if family == "t5":
        token = tokenizer.convert_tokens_to_ids(text)
        return None if token is None or token == tokenizer.unk_token_id else int(token)
    ids = tokenizer.encode(text, add_special_tokens=False)
    return int(ids[0]) if len(ids) == 1 and ids[0] != tokenizer.unk_token_id else None
