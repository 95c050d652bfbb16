"""Metrics against reference outputs: ROUGE's own tests, SQuAD's script, plain definitions."""

from __future__ import annotations

import random
from collections import Counter
from functools import cache

import pytest

from trials import tasks
from workers.pack import metrics
from workers.pack.metrics import Golds


def test_every_task_names_metrics_that_are_there() -> None:
    for name in tasks.names():
        task = tasks.get(name)
        known = metrics.LABELS if task.labels else metrics.TEXTS
        assert {task.metric, *task.secondary} <= set(known)


@pytest.mark.parametrize(
    ("text", "normal"),  # by evaluate-v1.1.py of SQuAD
    [
        ("The  Eiffel Tower.", "eiffel tower"),
        ("a cat, an owl", "cat owl"),
        ("Theatre anthem", "theatre anthem"),
        ("U.S.A.", "usa"),
        ("14 December 1972 UTC", "14 december 1972 utc"),
        ("the", ""),
        ("rock 'n' roll\n", "rock n roll"),
        ("naïve — café", "naïve — café"),  # ASCII punctuation only
    ],
)
def test_squad_normalisation(text: str, normal: str) -> None:
    assert metrics.normalise_answer(text) == normal


def test_exact_match_takes_the_best_of_the_golds() -> None:
    right: list[Golds] = [("December 1972", "14 December 1972 UTC"), ("Bobby Scott",), ("the Beatles",), ("x",)]
    assert metrics.exact_match(["14 december 1972, UTC", "Bob Russell", "Beatles!", ""], right) == 0.5


def test_token_f1_takes_the_best_of_the_golds() -> None:
    assert metrics.token_f1(["in december 1972"], [("14 December 1972 UTC", "December 1972")]) == pytest.approx(0.8)
    assert metrics.token_f1(["cat cat cat"], [("cat",)]) == pytest.approx(0.5)  # a word counts as often as in both
    assert metrics.token_f1(["dog", "the"], [("cat",), ("a cat",)]) == 0.0


@pytest.mark.parametrize(
    ("name", "gold", "text", "score"),  # rouge_scorer_test.py of rouge-score, itself checked against ROUGE-1.5.5
    [
        ("rouge1", "testing one two", "testing", 1 / 2),
        ("rouge1", "testing one two", "testing one", 4 / 5),
        ("rouge2", "testing one two", "testing one", 2 / 3),
        ("rougeL", "testing one two", "testing one", 4 / 5),
        ("rougeL", "testing one two", "testing two", 4 / 5),
        ("rouge1", "testing one two", "", 0.0),
        ("rouge2", "testing one two", "", 0.0),
        ("rougeL", "testing one two", "", 0.0),
        ("rouge1", "tests", "test", 0.0),  # no stemmer
    ],
)
def test_rouge(name: str, gold: str, text: str, score: float) -> None:
    assert metrics.TEXTS[name]([text], [(gold,)]) == pytest.approx(score)
    assert metrics.TEXTS[name]([text, text], [(gold,), ("nothing alike", gold)]) == pytest.approx(score)


def test_rouge_equals_its_definition_on_random_texts() -> None:
    rng = random.Random(0)
    for _ in range(50):
        given, gold = ([rng.choice("abcde") for _ in range(rng.randint(1, 9))] for _ in range(2))
        for name, shared, sizes in (
            ("rouge1", _shared(given, gold, 1), (len(given), len(gold))),
            ("rouge2", _shared(given, gold, 2), (len(given) - 1, len(gold) - 1)),
            ("rougeL", _lcs(tuple(given), tuple(gold)), (len(given), len(gold))),
        ):
            want = 2 * shared / sum(sizes) if shared else 0.0
            assert metrics.TEXTS[name]([" ".join(given)], [(" ".join(gold),)]) == pytest.approx(want)


def _shared(given: list[str], gold: list[str], n: int) -> int:
    grams = [Counter(zip(*(words[i:] for i in range(n)), strict=False)) for words in (given, gold)]
    return sum((grams[0] & grams[1]).values())


@cache
def _lcs(a: tuple[str, ...], b: tuple[str, ...]) -> int:
    if not a or not b:
        return 0
    return _lcs(a[1:], b[1:]) + 1 if a[0] == b[0] else max(_lcs(a[1:], b), _lcs(a, b[1:]))


def test_label_metrics_by_hand() -> None:
    right, given = [1, 1, 1, 0, 0, 0], [1, 1, -1, 1, 0, -1]  # -1: a text that is no label
    assert metrics.accuracy(given, right) == pytest.approx(3 / 6)
    assert metrics.f1(given, right) == pytest.approx(2 * 2 / (3 + 3))
    assert metrics.f1([0, -1], [0, 0]) == 0.0
