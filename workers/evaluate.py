"""Scores of the active trials on some rows: label scores for encoders, generated text for families that generate."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from sklearn.metrics import f1_score

from workers.batches import Dataset, eval_batches
from workers.model import PackModel


@dataclass(frozen=True)
class Scores:
    """The task's metric as a fraction in [0, 1], and secondary ones by name."""

    score: float
    metrics: dict[str, float] = field(default_factory=dict)


def normalise(text: str) -> str:
    """Lower case, surrounding space and repeated spaces gone: how a generated label is compared."""
    return re.sub(r"\s+", " ", text).strip().lower()


@torch.no_grad()
def evaluate(model: PackModel, rows: Dataset, batch_size: int) -> list[Scores]:
    """One score per active trial, in the order of ``model.active``.

    Encoders answer with their best label, others with greedy text that must be the label's text: anything else
    is wrong, so a guess scores 0 there and 1 / labels here.
    """
    names = [normalise(text) for text in rows.label_texts]
    labels: list[int] = []
    answers: list[list[int]] = [[] for _ in model.active]
    for batch in eval_batches(rows, batch_size):
        tensors = {name: x.to(model.device) for name, x in batch.tensors.items()}
        labels += batch.tensors["class_labels"].tolist()
        if model.family == "bert":
            given = model.predict(tensors).tolist()
        else:
            texts = model.generate(tensors, rows.max_generated_length)
            given = [[_label(names, normalise(text)) for text in slice_] for slice_ in texts]
        for mine, new in zip(answers, given, strict=True):
            mine += new
    return [_scores(rows, labels, mine) for mine in answers]


def _label(names: Sequence[str], text: str) -> int:
    """Index of the label whose text this is, -1 for any other text."""
    return names.index(text) if text in names else -1


def _scores(rows: Dataset, labels: Sequence[int], answers: Sequence[int]) -> Scores:
    right = sum(a == b for a, b in zip(labels, answers, strict=True))
    secondary = {name: METRICS[name](labels, answers) for name in rows.secondary}
    return Scores(right / len(labels), secondary)


def _f1(labels: Sequence[int], answers: Sequence[int]) -> float:
    """F1 of class 1; an answer that is no label is no positive."""
    return float(f1_score([x == 1 for x in labels], [x == 1 for x in answers], zero_division=0.0))


METRICS: dict[str, Callable[[Sequence[int], Sequence[int]], float]] = {"f1": _f1}
