"""Scores of the active trials on some rows: label scores for encoders, generated text for families that generate.

The rows are spread over the ranks; what each has answered is put together before anything is scored, so that a score is
a function of all answers wherever they were given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from trials.store.answers import Answered
from workers.backbone.heads import label_word_ids
from workers.gang.gang import ALONE, Gang
from workers.modules.model import PackModel
from workers.pack.metrics import LABELS, TEXTS, by_row, mean, normalise_label
from workers.rows.batches import cut, eval_batches, eval_order, part
from workers.rows.encode import Dataset, Encoding

Answers = dict[int, Any]  # by row: the best label's index, or a text


@dataclass(frozen=True)
class Scores:
    """The task's metric as a fraction in [0, 1], secondary ones by name, and what both are of, row by row."""

    score: float
    metrics: dict[str, float]
    answered: Answered


def evaluate(model: PackModel, data: Dataset, batch_size: int, secondary: bool = True) -> list[Scores]:
    """One score per active trial, in the order of ``model.active``, in a process alone."""
    return graded(answers(model, data, batch_size), data, secondary)


@torch.no_grad()
def answers(model: PackModel, data: Dataset, batch_size: int, gang: Gang = ALONE) -> list[Answers]:
    """What each active trial answers to this rank's rows, at most ``batch_size`` of them a pass.

    Encoders answer with their best label, others with greedy text. A verbalizer answers in the label words of the task
    that is scored, trained on or not.
    """
    how = data.how
    words = label_word_ids(how.task, how.labels, how.family, how.tokenizer) if model.label_words else None
    found: list[Answers] = [{} for _ in model.active]
    for batch in eval_batches(data, batch_size * gang.ranks):
        for one, counts in cut(len(batch.rows), batch_size, gang):
            tensors = {name: x.to(model.device) for name, x in part(batch, one).items()}
            rows = batch.rows[one]
            if model.family == "bert":
                given: list[list[Any]] = model.predict(tensors, words, (data, rows)).tolist()
            else:
                given = model.generate(tensors, how.max_generated_length, (data, rows))
            if counts:
                for mine, new in zip(found, given, strict=True):
                    mine.update(zip(rows, new, strict=True))
    return found


def gathered(given_K: Sequence[Answers], gang: Gang) -> list[Answers]:
    """Per trial the answers to all rows, from the ranks that had them; the same on every rank."""
    return [{row: x for one in ranks for row, x in one.items()} for ranks in zip(*gang.gather(given_K), strict=True)]


def graded(given_K: Sequence[Answers], data: Dataset, secondary: bool = True) -> list[Scores]:
    """One score per trial, of its answers to all rows.

    Where the task has labels an answer must be the label's text: anything else is wrong, so a guess scores 0 where text
    is generated, and 1 / labels for encoders. Without ``secondary`` the task's metric is all that is computed: ROUGE
    takes longer than the tiny backbones' answers.
    """
    return [_scores(data, given, secondary) for given in given_K]


def _scores(data: Dataset, given: Answers, secondary: bool) -> Scores:
    how, order = data.how, eval_order(data)  # sums of shares are rounded, in this order
    read, texts = _read(how, [given[row] for row in range(len(data))])
    mine, right = ([some[row] for row in order] for some in (read, data.rows.answers))
    metrics: Any = LABELS if how.task.labels else TEXTS
    scores = by_row(how.task.metric, mine, right)
    others = {name: metrics[name](mine, right) for name in how.task.secondary if secondary}
    of_row = dict(zip(order, scores, strict=True))
    return Scores(mean(scores), others, Answered([of_row[row] for row in range(len(data))], texts))


def _read(how: Encoding, given: list[Any]) -> tuple[list[Any], list[str]]:
    """Answers as metrics take them, labels' indices or texts, and as texts."""
    if how.family == "bert":
        return given, [how.label_texts[label] for label in given]
    if not how.task.labels:
        return given, given
    names = [normalise_label(text) for text in how.label_texts]
    return [_label(names, normalise_label(text)) for text in given], given


def _label(names: Sequence[str], text: str) -> int:
    """Index of the label whose text this is, -1 for any other text."""
    return names.index(text) if text in names else -1
