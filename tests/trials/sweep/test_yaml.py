"""Text that is no YAML 1.2, or means something else in it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from sweeps_for_tests import GOOD, only, problems

from trials.store.store import Store
from trials.sweep.sweep import Sweep
from trials.sweep.yaml import read


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


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("[lora]", "[lora]\t"),
        GOOD.replace("[lora]", "[lora]\t # a comment"),
        GOOD.replace("methods: [lora]", "methods:\t[lora]"),
        GOOD.replace("[lora]", "\t\n  - lora\t\n  -\tbitfit # two"),
        GOOD.replace("[rte]", "[\n\trte,\t\n\tsst2\n\t]\t"),
        GOOD.replace("methods", "\t\n \t \n\t# a comment\nmethods"),
        GOOD.replace("methods", "name: 'mine'\t\nmethods"),
        GOOD.replace("\n", "\t\n"),
        "\ufeff" + GOOD,
        GOOD.replace("\n", "\r\n"),
    ],
)
def test_tabs_where_they_separate_mark_and_windows_lines(text: str) -> None:
    """Also in a text that is changed: ``--set`` and the copy in the store."""
    found = Sweep.parse(text)
    assert found.trials()
    changed = Sweep.parse(text).with_(["training.steps=5"])
    assert {trial.training.steps for trial in changed.trials()} == {5}
    assert len(changed.trials()) == len(found.trials())
    assert Sweep.parse(found.standalone()).trials() == found.trials()


def test_tabs_in_an_indentation_stay_an_error_and_places_stay_right() -> None:
    only(problems("a:\n\tb: 1"), "f.yaml:2:1", "not YAML")
    only(problems("a:\n  \tb: 1"), "f.yaml:2:3", "not YAML")
    only(problems("a:\n-\tb: 1\n  c: 2"), "f.yaml:2:4", "not YAML")
    found = problems(GOOD.replace("[lora]", "\t[lorra]\t") + "colour: |\n  x\t\n")
    assert [line.split(": ")[0] for line in found] == ["f.yaml:4:12", "f.yaml:7:1"]
    assert read("a: |\n  x\t\n  y\n", "f.yaml").data == {"a": "x\t\ny\n"}


def laughs(levels: int, each: int) -> str:
    """A list of lists of lists by aliases: ``each`` ** ``levels`` values."""
    lines = [f"a0: &a0 [{', '.join(['x'] * each)}]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * each)}]" for i in range(1, levels)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (laughs(9, 9), ["f.yaml:5:5", "66,430 values with its aliases, and 50,000 is the most"]),
        (laughs(200, 9), ["f.yaml:5:5", "66,430 values"]),
        (laughs(2000, 1), ["f.yaml:40:6", "nested too deeply"]),
        ("a: " + "[" * 60 + "]" * 60, ["f.yaml:1:", "nested too deeply"]),
        ("[" * 5000, ["f.yaml:1:42", "nested too deeply"]),
        ("x" * 1_000_001, ["f.yaml:1:1", "1,000,001 characters", "1,000,000 at most", "is it the right file?"]),
    ],
    ids=["laughs", "many laughs", "a chain", "brackets", "many brackets", "another file"],
)
def test_what_is_far_too_large_is_refused_at_once(text: str, parts: list[str]) -> None:
    start = time.process_time()
    only(problems(text), *parts)
    assert time.process_time() - start < 1.0


def test_a_thousand_problems_are_not_all_printed() -> None:
    found = problems(GOOD + f"train_seeds: [{', '.join(['x'] * 1000)}]\n")
    assert len(found) == 51
    assert found[-1] == "f.yaml: and 1,949 more; mend these first"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (GOOD.replace("1e-3", "1e400"), ["f.yaml:5:18", "inf", "a number above 0"]),
        (GOOD.replace("4}", "9" * 5000 + "}"), ["f.yaml:6:19", "9999", "can't be read as int"]),
        (GOOD.replace("4}", "9" * 4000 + "}"), ["f.yaml:6:19", "9999", "a whole number"]),
        (GOOD.replace("[rte]", '["\\ud800"]'), ["f.yaml:3:9", "'\\ud800' can't be read as str"]),
        (GOOD + f"name: {'x' * 245}\n", ["f.yaml:7:7", "name: xxx", "100 at most"]),
        (GOOD.replace("[tiny-bert]", f"[{{name: {'x' * 101}, family: t5, model_dir: m}}]"), ["f.yaml:2:20", "100"]),
        (GOOD.replace("[rte]", "[{name: rte, data_dir: " + "x" * 5000 + "}]"), ["f.yaml:3:", "File name too long"]),
        (GOOD.replace("[tiny-bert]", "[{name: tiny-bert, model_dir: " + "x" * 300 + "}]"), ["File name too long"]),
        (GOOD.replace("[rte]", '[{name: rte, data_dir: "a\\0b"}]'), ["f.yaml:3:", "not found"]),
    ],
)
def test_values_that_no_machine_can_take(text: str, parts: list[str]) -> None:
    only(problems(text), *parts)


def test_names_that_are_as_long_as_they_may_be(tmp_path: Path) -> None:
    assert Sweep.parse(GOOD + f"name: {'x' * 100}\n").name == "x" * 100
    stem = Sweep.parse(GOOD, where=f"_{'y' * 200}.yaml")
    assert stem.name == "y" * 100
    stored = Store(tmp_path, create=True).save_sweep(stem.name, stem.standalone())
    assert stored.startswith("sweeps/" + "y" * 100)
