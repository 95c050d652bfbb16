"""Tiny frozen backbones with a pack's modules, and a batch of rows of unequal length, for the workers' tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trials import backbones
from trials.modules.operations import OPERATIONS
from trials.modules.positions import layout
from trials.trial import Trial
from workers.backbone import weights
from workers.modules.model import PackModel
from workers.modules.modules import Modules

FAMILIES = ("tiny-bert", "tiny-bloom", "tiny-t5")
WORDS = (10, 11, 12)  # label words of BERT's rows


def frozen(name: str, **shape: int) -> Any:
    """A tiny backbone, or one of another shape, without its tokenizer; generation pads with 0 and never ends early."""
    ref = backbones.get(name)
    ref = replace(ref, shape=replace(ref.shape, **shape))
    model = weights._empty(ref)
    weights._fill(model, ref)
    model.eval().requires_grad_(False)
    tokenizer = SimpleNamespace(
        pad_token_id=0, eos_token_id=None, batch_decode=lambda tokens, **_: [str(row) for row in tokens.tolist()]
    )
    return SimpleNamespace(ref=ref, model=model, tokenizer=tokenizer, device=torch.device("cpu"), shards=None)


def batch(name: str, *, padded: bool = True) -> dict[str, Tensor]:
    """Four rows of 9 positions; with padding, on the family's own side. T5's targets have four tokens."""
    ids = torch.arange(4 * 9).view(4, 9) * 37 % 1900 + 20
    mask = torch.ones_like(ids)
    if padded:
        for row, short in ((0, 3), (1, 1)):
            mask[row, slice(0, short) if name == "tiny-bloom" else slice(9 - short, 9)] = 0
    found = {"input_ids": ids * mask, "attention_mask": mask, "class_labels": torch.tensor([0, 1, 2, 0])}
    if name == "tiny-bert":
        return {**found, "mask_position": torch.tensor([1, 2, 3, 4]), "token_type_ids": (ids > 900).long() * mask}
    if name == "tiny-t5":
        return {**found, "labels": ids[:, :4].flip(0)}
    labels = ids.clone()
    labels[:, :6] = -100
    return {**found, "labels": labels}


@contextmanager
def pack(backbone: Any, trials: Sequence[Trial]) -> Iterator[tuple[PackModel, Modules]]:
    """The backbone with the modules of some trials in it."""
    modules = Modules(backbone, [layout(t) for t in trials])
    try:
        yield PackModel(backbone, modules, label_words=WORDS if backbone.ref.family == "bert" else None), modules
    finally:
        modules.close()


def answers(model: PackModel, rows: dict[str, Tensor]) -> list[list[Any]]:
    """Per slice the labels, or five greedy tokens, of every row."""
    if model.family == "bert":
        labels: list[list[Any]] = model.predict(rows).tolist()
        return labels
    return model.generate(rows, 5)


def logits(backbone: Any, k: int = 1) -> Tensor:
    """Logits of a fixed batch of 3 rows, k slices of it."""
    ids = torch.arange(3 * 7).view(3, 7) * 31 % 2000 + 10
    mask = torch.ones_like(ids)
    inputs = {"input_ids": ids.repeat(k, 1), "attention_mask": mask.repeat(k, 1)}
    if backbone.ref.family == "t5":
        inputs["decoder_input_ids"] = ids[:, :4].repeat(k, 1)
    return backbone.model(**inputs).logits


def randomised(modules: Modules) -> None:
    """Every θ away from its start, by noise that depends on its length alone."""
    for theta in modules.thetas:
        noise = np.random.RandomState(len(theta)).randn(len(theta)) * 0.1
        theta.data += torch.from_numpy(noise).float()


MIXED = {"count": 700, "operations": {"add": 1, "concat": 2, "plug": 3}}
ALONE: list[dict[str, Any]] = [
    {"operations": {op: 1}, "count": {"add": 37, "concat": 901}.get(op, 333)} for op in OPERATIONS
]
PLACED: list[dict[str, Any]] = [*ALONE, MIXED, {**MIXED, "placement": "adjacent"}]
CASES: list[dict[str, Any]] = [
    *PLACED,
    {"operations": dict.fromkeys(OPERATIONS, 1), "count": 600},
    {"method": "lora"},
    {"method": "adapter"},
    {"method": "bitfit"},
]
