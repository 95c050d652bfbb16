"""All that the tokens of a row follow from is in the name of a cached entry: one change of one part, another name."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from encodings_for_tests import TINY, encoding, tokenizer
from tokenizers import normalizers
from transformers import AddedToken

from trials import tasks
from trials.sources import counts
from trials.trial import Source, TaskRef
from workers.backbone import tokenizer as tokenizers
from workers.rows import cache, encode
from workers.rows.encode import Encoding

ROWS = "train_rows", "validation_rows", "test_rows"


def changed_task(of: str, **fields: Any) -> Any:
    return replace(tasks.get(of), **fields)


@pytest.mark.parametrize(
    "changed",
    [
        {"labels": "unified"},
        {"head": "frozen"},  # no prompt
        {"max_input_length": 9},
        {"max_generated_length": 9},
        {"task": changed_task("mrpc", name="other")},
        {"task": changed_task("mrpc", prompt={"bert": "{mask}: {sentence1} {sentence2}"})},
        {"task": changed_task("mrpc", columns=("sentence2", "sentence1"))},
        {"task": changed_task("mrpc", answer_column="gold")},
        {"task": changed_task("mrpc", labels=("equivalent", "not_equivalent"))},
        {"task": changed_task("mrpc", words={"bert": ("yes", "no")})},
    ],
    ids=str,
)
def test_settings_and_task_are_in_the_key(changed: dict[str, Any]) -> None:
    one = encoding("mrpc", "tiny-bert")
    assert replace(one).key == one.key
    assert replace(one, **changed).key != one.key


def test_unified_labels_are_in_the_key() -> None:
    one = encoding("mrpc", "tiny-bert", labels="unified")
    assert replace(one, task=changed_task("mrpc", unified=(1, 0))).key != one.key


def test_the_family_is_in_the_key() -> None:
    one = encoding("samsum", "tiny-t5")  # the prompt is BLOOM's, and there are no words
    assert replace(one, family="bloom").key != one.key


def test_versions_are_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {encoding("mrpc", "tiny-t5").key}
    for name in ("VERSION", "TEXT_VERSION"):
        with monkeypatch.context() as patch:
            patch.setattr(encode, name, 99)
            keys.add(encoding("mrpc", "tiny-t5").key)
    assert len(keys) == 3


def test_heads_that_read_the_same_share_a_key() -> None:
    assert encoding("mrpc", "tiny-bert", head="trained").key == encoding("mrpc", "tiny-bert", head="frozen").key


@pytest.mark.parametrize(
    ("backbone", "token", "value"),
    [
        ("tiny-bert", "mask_token", "[UNK]"),  # which token the prompt asks at
        ("tiny-bloom", "eos_token", "<unk>"),  # which token ends a target
        ("tiny-t5", "eos_token", "<unk>"),
        ("tiny-t5", "pad_token", "<unk>"),
    ],
)
def test_special_tokens_are_in_the_key(backbone: str, token: str, value: str) -> None:
    one = encoding("mrpc", backbone)
    other = deepcopy(tokenizer(backbone))
    setattr(other, token, value)
    assert other.backend_tokenizer.to_str() == one.tokenizer.backend_tokenizer.to_str()
    assert replace(one, tokenizer=other).key != one.key


def test_what_a_special_token_is_for_is_in_the_key() -> None:
    one = encoding("mrpc", "tiny-t5")
    begins, ends = (deepcopy(tokenizer("tiny-t5")) for _ in range(2))
    begins.bos_token, begins.eos_token = "</s>", None
    assert begins.all_special_tokens == ends.all_special_tokens
    assert replace(one, tokenizer=begins).key != replace(one, tokenizer=ends).key


def test_extra_special_tokens_are_in_the_key() -> None:
    """A text can't spell one, so that it changes tokens."""
    one, other = encoding("mrpc", "tiny-t5"), deepcopy(tokenizer("tiny-t5"))
    other.extra_special_tokens = ["cat"]
    assert replace(one, tokenizer=other).key != one.key


@pytest.mark.parametrize("backbone", TINY)
def test_how_a_text_is_split_is_in_the_key(backbone: str) -> None:
    one = encoding("mrpc", backbone)
    longer, upper = deepcopy(tokenizer(backbone)), deepcopy(tokenizer(backbone))
    longer.add_tokens([AddedToken("catdog")])
    upper.backend_tokenizer.normalizer = normalizers.NFD()
    keys = [replace(one, tokenizer=t).key for t in (one.tokenizer, deepcopy(one.tokenizer), longer, upper)]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


def test_a_tokenizer_in_python_is_its_class_its_tokens_and_its_special_ones() -> None:
    class Words:
        backend_tokenizer = None

        def __init__(self, vocabulary: dict[str, int], eos: str) -> None:
            self.vocabulary, self.special_tokens_map, self.all_special_tokens = vocabulary, {"eos_token": eos}, [eos]

        def get_vocab(self) -> dict[str, int]:
            return self.vocabulary

        def convert_tokens_to_ids(self, token: str) -> int:
            return self.vocabulary[token]

    class Others(Words):
        pass

    ids = {"a": 0, "b": 1, "c": 2}
    same = [tokenizers.definition(Words(dict(ids), "a")) for _ in range(2)]
    other = [Words({**ids, "b": 2, "c": 1}, "a"), Words(ids, "b"), Others(ids, "a")]
    assert same[0] == same[1]
    assert len({same[0], *map(tokenizers.definition, other)}) == 4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "train.jsonl").write_text('{"sentence1": "a", "sentence2": "b", "label": 0}\n')
    return tmp_path


def entry(folder: Path, split: str = "train", how: Encoding | None = None, **limits: int) -> str:
    ref = TaskRef("mrpc", Source("folder", "x", "0"), **limits)
    return cache.key(ref, tasks.get("mrpc"), f"folder:{folder}", split, how or encoding("mrpc", "tiny-t5"))


def test_split_limits_encoding_and_content_are_in_the_name(folder: Path) -> None:
    names = [
        entry(folder),
        entry(folder, "validation"),
        *(entry(folder, **{rows: 5}) for rows in ROWS),
        entry(folder, how=encoding("mrpc", "tiny-t5", max_input_length=9)),
    ]
    (folder / "train.jsonl").write_text('{"sentence1": "a", "sentence2": "c", "label": 0}\n')
    names.append(entry(folder))
    assert len(set(names)) == len(names) == 7


@pytest.mark.parametrize(("rule", "value"), [("CUT_ROWS", 7), ("CUT_SHARE", 0.3)])
def test_how_splits_are_cut_is_in_the_name(
    folder: Path, rule: str, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = entry(folder)
    monkeypatch.setattr(counts, rule, value)
    assert entry(folder) != one


def test_the_hub_s_revision_configuration_and_splits_are_in_the_name() -> None:
    one, how, ref = tasks.get("mrpc"), encoding("mrpc", "tiny-t5"), TaskRef("mrpc", Source("hub", "a/b", "1"))
    others = [changed_task("mrpc", hub_config="b"), changed_task("mrpc", splits={**one.splits, "train": "b"})]
    names = [cache.key(ref, one, f"hub:a/b@{revision}", "train", how) for revision in (1, 2)]
    names += [cache.key(ref, other, "hub:a/b@1", "train", how) for other in others]
    assert len(set(names)) == 4


def test_a_package_s_version_is_in_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    names = set()
    for version in ("1", "2"):
        monkeypatch.setattr(cache, "package_version", lambda _, version=version: version)
        ref = TaskRef("mrpc", Source("package", "pytest", version))
        names.add(cache.key(ref, tasks.get("mrpc"), "package:pytest", "train", encoding("mrpc", "tiny-t5")))
    assert len(names) == 2
