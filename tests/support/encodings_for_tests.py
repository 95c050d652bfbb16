"""Encodings on the tiny tokenizers, for tests."""

from __future__ import annotations

from functools import cache
from typing import Any

from trials import backbones, tasks
from workers.backbone.pretrained import tokenizer_of
from workers.backbone.weights import TOKENIZERS
from workers.rows.data import Rows
from workers.rows.encode import Dataset, Encoding, encode

TINY = ("tiny-bert", "tiny-bloom", "tiny-t5")
PAIRS = [(t, b) for t in tasks.names() for b in TINY if backbones.get(b).family in tasks.get(t).prompt]


@cache
def tokenizer(backbone: str) -> Any:
    return tokenizer_of(TOKENIZERS / backbone)


def encoding(task_name: str, backbone: str, **changed: Any) -> Encoding:
    task, family = tasks.get(task_name), backbones.get(backbone).family
    fields: dict[str, Any] = {
        "labels": "own",
        "head": "verbalizer" if family == "bert" else None,
        "max_input_length": task.max_input_length,
        "max_generated_length": task.max_generated_length,
    }
    return Encoding(task, family, tokenizer(backbone), **{**fields, **changed})


def dataset(backbone: str, n: int = 50) -> Dataset:
    """Pairs of 17 lengths."""
    how = encoding("mrpc", backbone)
    rows = Rows([("cat " * (i % 17 + 1), "a dog") for i in range(n)], [i % 2 for i in range(n)])
    return Dataset(encode(rows, how), how)
