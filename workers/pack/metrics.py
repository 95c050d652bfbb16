"""Scores as fractions in [0, 1]: of labels by scikit-learn, of texts as SQuAD and ROUGE define them.

Every metric is a function of all answers and all right ones: class indices (-1 is no label at all), or texts and,
per row, the texts that are right, of which the best counts.
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
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(right, given))


def f1(given: Sequence[int], right: Sequence[int]) -> float:
    """F1 of class 1; an answer that is no label is no positive."""
    from sklearn.metrics import f1_score

    return float(f1_score([x == 1 for x in right], [x == 1 for x in given], zero_division=0.0))


def exact_match(given: Sequence[str], right: Sequence[Golds]) -> float:
    """Share of texts that equal a right one, both as SQuAD normalises them."""
    return _mean(lambda text, gold: float(normalise_answer(text) == normalise_answer(gold)), given, right)


def token_f1(given: Sequence[str], right: Sequence[Golds]) -> float:
    """Mean F1 of the words that a text shares with a right one, both as SQuAD normalises them."""
    return _mean(_token_f1, given, right)


def rouge1(given: Sequence[str], right: Sequence[Golds]) -> float:
    """Mean F of single words; see :func:`_rouge`."""
    return _rouge("rouge1", given, right)


def rouge2(given: Sequence[str], right: Sequence[Golds]) -> float:
    """Mean F of pairs of words; see :func:`_rouge`."""
    return _rouge("rouge2", given, right)


def rougeL(given: Sequence[str], right: Sequence[Golds]) -> float:
    """Mean F of the longest common subsequence of the whole texts; see :func:`_rouge`."""
    return _rouge("rougeL", given, right)


LABELS: dict[str, Callable[[Sequence[int], Sequence[int]], float]] = {"accuracy": accuracy, "f1": f1}
TEXTS: dict[str, Callable[[Sequence[str], Sequence[Golds]], float]] = {
    metric.__name__: metric for metric in (exact_match, token_f1, rouge1, rouge2, rougeL)
}


def _mean(score: Callable[[str, str], float], given: Sequence[str], right: Sequence[Golds]) -> float:
    """Mean over rows of the best score against any right text."""
    best = [max(score(text, gold) for gold in golds) for text, golds in zip(given, right, strict=True)]
    return sum(best) / len(best)


def _token_f1(text: str, gold: str) -> float:
    words, wanted = normalise_answer(text).split(), normalise_answer(gold).split()
    same = sum((Counter(words) & Counter(wanted)).values())
    return 2 * same / (len(words) + len(wanted)) if same else 0.0


def _rouge(name: str, given: Sequence[str], right: Sequence[Golds]) -> float:
    """By the package rouge-score, without a stemmer: its default, and T5's own (t5/evaluation/metrics.py)."""
    scorer = _scorer(name)
    return _mean(lambda text, gold: float(scorer.score(gold, text)[name].fmeasure), given, right)


@cache
def _scorer(name: str) -> Any:
    from rouge_score.rouge_scorer import RougeScorer  # here, for its nltk takes a second

    return RougeScorer([name])
