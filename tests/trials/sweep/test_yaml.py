"""Text that is no YAML 1.2, or means something else in it."""

from __future__ import annotations

import pytest
from sweeps_for_tests import GOOD, only, problems


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["f.yaml:1:1", "empty"]),
        ("# only a comment\n", ["empty"]),
        ("just text", ["a mapping of keys"]),
        ("[1, 2]", ["a mapping of keys"]),
        ("a: [1, 2", ["f.yaml:1:", "not YAML"]),
        ("\ta: 1", ["f.yaml:1:1", "not YAML"]),
        ("a: \x07", ["not YAML"]),
        ("a: 1\n---\nb: 1", ["f.yaml:2:1", "another document"]),
        ("a: *nothing", ["f.yaml:1:4", "undefined alias"]),
        ("a: &x [*x]", ["anchor that holds itself"]),
        ("a: !!python/name:os.system x", ["f.yaml:1:4", "tag"]),
        ("a: 1\nb: {<<: {c: 1}}", ["f.yaml:2:5", "merge keys"]),
        ("a: {1: 2}", ["f.yaml:1:5", "a key must be text"]),
        ("a: {[x]: 2}", ["a key must be text"]),
        ("%YAML 1.1\n---\na: yes", ["f.yaml:1:1", "YAML 1.2"]),
        ("[" * 5000, ["not YAML"]),
    ],
)
def test_what_is_not_yaml(text: str, parts: list[str]) -> None:
    only(problems(text), *parts)


def test_every_key_given_twice() -> None:
    found = problems("a: 1\na: 2\nb: {c: 1, c: 2}")
    assert found == [
        "f.yaml:2:1: a: this key is there twice (first at f.yaml:1:1); keep one",
        "f.yaml:3:11: b.c: this key is there twice (first at f.yaml:3:5); keep one",
    ]


def test_numbers_in_quotes_and_yes_are_text() -> None:
    only(problems(GOOD.replace("1e-3", '"1e-3"')), "learning_rates.0", "text in quotes", "a number above 0")
    only(problems(GOOD + "resources: {offload: yes}"), "resources.offload: yes", "auto, true or false")
