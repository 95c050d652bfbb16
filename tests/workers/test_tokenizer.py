"""A tokenizer that isn't its backbone's is refused before anything trains."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from encodings_for_tests import tokenizer

from trials import backbones
from trials.errors import ApetError
from workers import backbone as loading
from workers import tokenizer as tokenizers
from workers import weights

TINY = ("tiny-bert", "tiny-bloom", "tiny-t5")


@pytest.mark.parametrize("name", TINY)
def test_a_backbone_with_another_vocabulary_is_refused(name: str) -> None:
    ref = backbones.get(name)
    tokenizers.check(tokenizer(name), ref, "here")
    for rows in (2047, 3000, 32_128):  # ids beyond the table; a table that is mostly unused
        other = replace(ref, shape=replace(ref.shape, vocab=rows))
        with pytest.raises(ApetError, match=rf"here: its tokenizer has 2048 tokens .* {name} {rows} rows: .*another"):
            tokenizers.check(tokenizer(name), other, "here")
    padded = replace(ref, shape=replace(ref.shape, vocab=2176))
    tokenizers.check(tokenizer(name), padded, "here")


@pytest.mark.parametrize(("name", "token"), [("tiny-bert", "mask"), ("tiny-bloom", "eos"), ("tiny-t5", "pad")])
def test_a_tokenizer_without_a_token_that_is_needed(name: str, token: str) -> None:
    from copy import deepcopy

    less = deepcopy(tokenizer(name))
    setattr(less, f"{token}_token", None)
    with pytest.raises(ApetError, match=f"no {token}_token"):
        tokenizers.check(less, backbones.get(name), "here")


def test_loading_checks_the_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    class Small:
        pad_token_id = eos_token_id = 0

        def get_vocab(self) -> dict[str, int]:
            return {"a": 0}

    real = weights.read

    def read(*args: Any) -> weights.Found:
        return replace(real(*args), tokenizer=Small())

    monkeypatch.setattr(weights, "read", read)
    with pytest.raises(ApetError, match="the tokenizer of another model"):
        loading.load(backbones.get("tiny-bloom"), "random:tiny-bloom")
