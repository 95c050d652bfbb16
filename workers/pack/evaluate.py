"""Scores of the active trials on some rows: label scores for encoders, generated text for families that generate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from workers.backbone.heads import label_word_ids
from workers.modules.model import PackModel
from workers.pack.metrics import LABELS, TEXTS, normalise_label
from workers.rows.batches import eval_batches
from workers.rows.encode import Dataset


@dataclass(frozen=True)
class Scores:
    """The task's metric as a fraction in [0, 1], and secondary ones by name."""

    score: float
    metrics: dict[str, float] = field(default_factory=dict)


@torch.no_grad()
def evaluate(model: PackModel, data: Dataset, batch_size: int, secondary: bool = True) -> list[Scores]:
    """One score per active trial, in the order of ``model.active``.

    Encoders answer with their best label, others with greedy text. Where the task has labels it must be the label's
    text: anything else is wrong, so a guess scores 0 there and 1 / labels here. A verbalizer answers in the label
    words of the task that is scored, trained on or not. Without ``secondary`` the task's metric is all that is
    computed: ROUGE takes longer than the tiny backbones' answers.
    """
    how = data.how
    words = label_word_ids(how.task, how.labels, how.family, how.tokenizer) if model.label_words else None
    right: list[Any] = []
    answers: list[list[Any]] = [[] for _ in model.active]
    for batch in eval_batches(data, batch_size):
        tensors = {name: x.to(model.device) for name, x in batch.tensors.items()}
        right += [data.rows.answers[i] for i in batch.rows]
        rows = data, batch.rows
        if model.family == "bert":
            given: list[list[Any]] = model.predict(tensors, words, rows).tolist()
        else:
            given = model.generate(tensors, data.how.max_generated_length, rows)
        for mine, new in zip(answers, given, strict=True):
            mine += new
    if model.family != "bert" and data.how.task.labels:
        names = [normalise_label(text) for text in data.how.label_texts]
        answers = [[_label(names, normalise_label(text)) for text in mine] for mine in answers]
    return [_scores(data, mine, right, secondary) for mine in answers]


def _label(names: Sequence[str], text: str) -> int:
    """Index of the label whose text this is, -1 for any other text."""
    return names.index(text) if text in names else -1


def _scores(data: Dataset, given: Sequence[Any], right: Sequence[Any], secondary: bool) -> Scores:
    task = data.how.task
    metrics: Any = LABELS if task.labels else TEXTS
    others = {name: metrics[name](given, right) for name in task.secondary if secondary}
    return Scores(metrics[task.metric](given, right), others)
