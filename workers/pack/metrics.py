"""Scores as fractions in [0, 1]: of labels by scikit-learn, of texts as SQuAD and ROUGE define them.

Every metric is a function of all answers and all right ones: class indices (-1 is no label at all), or texts and,
per row, the texts that are right, of which the best counts. What a task is scored by is the mean of scores of rows.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

Golds = tuple[str, ...]


def normalise_label(text: str) -> str:
    """Lower case, surrounding space and repeated spaces gone: how a generated label is compared."""
    return re.sub(r"\s+", " ", text).strip().lower()


def normalise_answer(text: str) -> str:
    """Lower case, then no ASCII punctuation, no articles, single spaces: SQuAD's evaluate-v1.1.py."""
    bare = "".join(c for c in text.lower() if c not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


def accuracy(given: Sequence[int], right: Sequence[int]) -> float:
    """Share of right labels."""
    return mean(by_row("accuracy", given, right))


def f1(given: Sequence[int], right: Sequence[int]) -> float:
    """F1 of class 1; an answer that is no label is no positive."""
    from sklearn.metrics import f1_score

    return float(f1_score([x == 1 for x in right], [x == 1 for x in given], zero_division=0.0))


def exact_match(given: Sequence[str], right: Sequence[Golds]) -> float:
    """Share of texts that equal a right one, both as SQuAD normalises them."""
    return mean(by_row("exact_match", given, right))


def token_f1(given: Sequence[str], right: Sequence[Golds]) -> float:
    """Mean F1 of the words that a text shares with a right one, both as SQuAD normalises them."""
    return mean(by_row("token_f1", given, right))


def rouge1(given: Sequence[str], right: Sequence[Golds]) -> float:
    """Mean F of single words; see :func:`_rouge`."""
    return mean(by_row("rouge1", given, right))


def rouge2(given: Sequence[str], right: Sequence[Golds]) -> float:
    """Mean F of pairs of words; see :func:`_rouge`."""
    return mean(by_row("rouge2", given, right))


def rougeL(given: Sequence[str], right: Sequence[Golds]) -> float:
    """Mean F of the longest common subsequence of the whole texts; see :func:`_rouge`."""
    return mean(by_row("rougeL", given, right))


def by_row(name: str, given: Sequence[Any], right: Sequence[Any]) -> list[float]:
    """The score of each row, whose mean the metric of this name is; of texts the best against any right one."""
    return [ROWS[name](x, y) for x, y in zip(given, right, strict=True)]


def mean(scores: Sequence[float]) -> float:
    """Of scores of rows, one or more."""
    return sum(scores) / len(scores)


def _right(label: int, gold: int) -> float:
    return float(label == gold)


def _best(score: Callable[[str, str], float]) -> Callable[[str, Golds], float]:
    return lambda text, golds: max(score(text, gold) for gold in golds)


def _exact(text: str, gold: str) -> float:
    return float(normalise_answer(text) == normalise_answer(gold))


def _token_f1(text: str, gold: str) -> float:
    words, wanted = normalise_answer(text).split(), normalise_answer(gold).split()
    same = sum((Counter(words) & Counter(wanted)).values())
    return 2 * same / (len(words) + len(wanted)) if same else 0.0


def _rouge(name: str) -> Callable[[str, str], float]:
    """By the package rouge-score, without a stemmer: its default, and T5's own (t5/evaluation/metrics.py)."""
    return lambda text, gold: float(_scorer(name).score(gold, text)[name].fmeasure)


@cache
def _scorer(name: str) -> Any:
    from rouge_score.rouge_scorer import RougeScorer  # here, for its nltk takes a second

    return RougeScorer([name])


LABELS: dict[str, Callable[[Sequence[int], Sequence[int]], float]] = {"accuracy": accuracy, "f1": f1}
TEXTS: dict[str, Callable[[Sequence[str], Sequence[Golds]], float]] = {
    metric.__name__: metric for metric in (exact_match, token_f1, rouge1, rouge2, rougeL)
}
ROWS: dict[str, Callable[[Any, Any], float]] = {
    "accuracy": _right,
    "exact_match": _best(_exact),
    "token_f1": _best(_token_f1),
    **{name: _best(_rouge(name)) for name in ("rouge1", "rouge2", "rougeL")},
}
