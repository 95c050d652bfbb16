"""What every file of trials/tasks must hold."""

from __future__ import annotations

import re
import string

import pytest

from trials import tasks
from trials.errors import ApetError
from trials.sweep.sweep import Sweep

# The study's: what we report, the longest input and the longest generated text
STUDY = {
    "SA": (("sst2", "imdb", "rotten_tomatoes"), "accuracy", 128),
    "NLI": (("mnli", "qnli", "rte"), "accuracy", 256),
    "PI": (("mrpc", "qqp"), "accuracy", 256),
    "QA": (("nq_open",), "exact_match", 256),
    "SUM": (("samsum", "multi_news"), "rougeL", 256),
}
GENERATED = {"nq_open": 32, "samsum": 128, "multi_news": 64}
SECONDARY = {"PI": ("f1",), "QA": ("token_f1",), "SUM": ("rouge1", "rouge2")}

# Classes in the order of their ids on the hub
CLASSES = {
    "sst2": ("negative", "positive"),
    "imdb": ("neg", "pos"),
    "rotten_tomatoes": ("neg", "pos"),
    "mnli": ("entailment", "neutral", "contradiction"),
    "qnli": ("entailment", "not_entailment"),
    "rte": ("entailment", "not_entailment"),
    "mrpc": ("not_equivalent", "equivalent"),
    "qqp": ("not_duplicate", "duplicate"),
}
# Per class the one label that all tasks share (the study's map for transfer), BERT's word, BLOOM's and T5's
MEANING = {
    **dict.fromkeys(("neg", "negative"), (0, "terrible", "negative")),
    **dict.fromkeys(("pos", "positive"), (1, "great", "positive")),
    **dict.fromkeys(("entailment", "equivalent", "duplicate"), (1, "yes", "yes")),
    "neutral": (0, "maybe", "maybe"),
    **dict.fromkeys(("contradiction", "not_entailment", "not_equivalent", "not_duplicate"), (0, "no", "no")),
}


def fields(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


def test_the_tasks_of_the_study() -> None:
    for category, (names, metric, longest) in STUDY.items():
        for name in names:
            task = tasks.get(name)
            assert (task.category, task.metric, task.max_input_length) == (category, metric, longest)
            assert task.secondary == SECONDARY.get(category, ())
            assert task.max_generated_length == GENERATED.get(name, 1)


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_has_its_place_its_words_and_its_unified_label(name: str) -> None:
    task = tasks.get(name)
    unified, bert, written = zip(*(MEANING[label] for label in CLASSES[name]), strict=True)
    assert task.labels == CLASSES[name]
    assert task.unified == unified
    assert task.words == {"bert": bert, "bloom": tuple(f" {word}" for word in written), "t5": written}


@pytest.mark.parametrize("name", tasks.names())
def test_a_task_is_whole(name: str) -> None:
    task = tasks.get(name)
    assert set(task.example) == set(task.needed)
    assert all(isinstance(task.example[column], str) for column in task.columns)
    assert re.fullmatch("[0-9a-f]{40}|refs/convert/parquet", task.revision)
    assert set(task.splits) == {"train", "validation", "test"}
    assert 0 < task.row_tokens <= task.max_input_length + task.max_generated_length
    for family, template in task.prompt.items():
        assert fields(template) == {*task.columns, *(["mask"] if family == "bert" else [])}
    if task.labels:
        assert set(task.prompt) == set(task.words) == {"bert", "bloom", "t5"}
        assert all(len(set(words)) == len(task.labels) for words in task.words.values())
        assert all(word.startswith(" ") for word in task.words["bloom"])
        assert len(task.unified) == len(task.labels)
        assert set(task.unified) == {0, 1}
        assert 0 <= task.example[task.answer_column] < len(task.labels)
        assert task.chance == 1 / len(task.labels)
    else:
        assert set(task.prompt) == {"bloom", "t5"}
        assert not task.words
        assert not task.unified
        assert task.example[task.answer_column]
        assert task.chance == 0.0


@pytest.mark.parametrize("name", GENERATED)
def test_an_encoder_with_a_generating_task_is_an_error_of_the_sweep(name: str) -> None:
    text = f"""
backbones: [tiny-bert]
tasks: [{name}]
methods: [bitfit]
learning_rates: [1e-3]
training: {{steps: 1}}
"""
    with pytest.raises(ApetError, match=rf"{name} can't be done by tiny-bert.*families that do: bloom, t5"):
        Sweep.parse(text, where="f.yaml").trials()
    unified = text.replace("tiny-bert", "tiny-t5") + "labels: unified\n"
    with pytest.raises(ApetError, match=f"{name} has no labels to unify"):
        Sweep.parse(unified, where="f.yaml").trials()
    assert len(Sweep.parse(text.replace("tiny-bert", "tiny-t5"), where="f.yaml").trials()) == 1
