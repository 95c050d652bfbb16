"""A tokenizer that isn't its backbone's is refused before anything trains."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from encodings_for_tests import TINY, tokenizer
from tiny_for_tests import frozen

from trials import backbones
from trials.errors import ApetError
from workers.backbone import load as loading
from workers.backbone import tokenizer as tokenizers
from workers.backbone import weights
from workers.backbone.pretrained import tokenizer_of

# Tokens of the published tokenizers: bert-base-uncased and what shares its vocabulary; BigScience's; Raffel et al.'s
# 32 000 pieces and 100 sentinels
PUBLISHED = {"bert": 30_522, "bloom": 250_680, "t5": 32_100}
EOS = {"bert": None, "bloom": 2, "t5": 1}


def published(tokens: int, **changed: Any) -> Any:
    ids = {f"{name}_token_id": 0 for name in ("pad", "cls", "sep", "mask", "eos")}
    return SimpleNamespace(get_vocab=lambda: {"a": 0, "z": tokens - 1}, eos_token="</s>", **{**ids, **changed})


def config(**named: Any) -> Any:
    return SimpleNamespace(**named)


@pytest.mark.parametrize("name", [name for name in backbones.BACKBONES if name not in TINY])
def test_the_published_tokenizer_of_every_backbone_is_taken(name: str) -> None:
    family = (ref := backbones.get(name)).family
    own = published(PUBLISHED[family], eos_token_id=EOS[family])
    tokenizers.check(own, config(eos_token_id=EOS[family]), ref, "here")
    tokenizers.check(own, config(), ref, "here")  # a config that names none


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("bert-base", 28_996),  # cased BERT's
        ("bloom-560m", 250_002),  # XLM-R's, whose EOS is BLOOM's too
        ("bloom-560m", 250_100),  # mT5's
        ("t5-small", 30_522),
    ],
)
def test_a_tokenizer_of_nearly_the_same_size_is_refused(name: str, tokens: int) -> None:
    ref = backbones.get(name)
    rule = rf"here: its tokenizer has {tokens} tokens .*{name} {ref.shape.vocab} rows, of which 512 .*put the one that"
    with pytest.raises(ApetError, match=rule):
        tokenizers.check(published(tokens), config(), ref, "here")


@pytest.mark.parametrize("name", TINY)
def test_a_backbone_with_another_vocabulary_is_refused(name: str) -> None:
    ref = backbones.get(name)
    tokenizers.check(tokenizer(name), config(), ref, "here")
    for rows in (2047, 3000, 32_128):  # ids beyond the table; a table that is mostly unused
        other = replace(ref, shape=replace(ref.shape, vocab=rows))
        with pytest.raises(ApetError, match=rf"here: its tokenizer has 2048 tokens .* {name} {rows} rows, .*another"):
            tokenizers.check(tokenizer(name), config(), other, "here")
    padded = replace(ref, shape=replace(ref.shape, vocab=2176))
    tokenizers.check(tokenizer(name), config(), padded, "here")


@pytest.mark.parametrize(
    ("name", "token"),
    [("tiny-bert", "mask"), ("tiny-bert", "cls"), ("tiny-bert", "sep"), ("tiny-bloom", "eos"), ("tiny-t5", "pad")],
)
def test_a_tokenizer_without_a_token_that_is_needed(name: str, token: str) -> None:
    less = deepcopy(tokenizer(name))
    setattr(less, f"{token}_token", None)
    with pytest.raises(ApetError, match=f"no {token}_token.* name it in tokenizer_config.json"):
        tokenizers.check(less, config(), backbones.get(name), "here")


@pytest.mark.parametrize("ends", [1, [1, 5]])
def test_another_token_at_the_end_is_refused(ends: int | list[int]) -> None:
    ref = backbones.get("tiny-bloom")
    with pytest.raises(ApetError, match=r"here: .* with token 2 \(</s>\) .*config with .*1.* the same.* put the one"):
        tokenizers.check(tokenizer("tiny-bloom"), config(eos_token_id=ends), ref, "here")
    tokenizers.check(tokenizer("tiny-bloom"), config(eos_token_id=[1, 2]), ref, "here")


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("other", TINY)
def test_a_folder_with_the_tokenizer_of_another_family_is_refused(name: str, other: str, tmp_path: Path) -> None:
    """All three have 2 048 tokens: size says nothing."""
    model = frozen(name).model
    model.config.tie_word_embeddings = name != "tiny-t5"
    model.save_pretrained(tmp_path)
    for file in (weights.TOKENIZERS / other).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    if name == other:
        loading.load(backbones.get(name), f"folder:{tmp_path}")
        return
    with pytest.raises(ApetError, match="the tokenizer of another model"):
        loading.load(backbones.get(name), f"folder:{tmp_path}")


@pytest.mark.parametrize("other", ["tiny-bloom", "tiny-t5"])
def test_an_encoder_without_a_language_model_head_is_checked_too(other: str) -> None:
    ref = backbones.get("tiny-bert")
    bare = replace(ref, shape=replace(ref.shape, lm_head=False))
    with pytest.raises(ApetError, match="no cls_token, which bert needs"):
        tokenizers.check(tokenizer(other), config(), bare, "here")


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


def test_t5_comes_with_sentencepiece_s_own_file(tmp_path: Path) -> None:
    """The hub's T5 v1.1 has ``spiece.model`` and no other file of a tokenizer."""
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        input=str(weights.TOKENIZERS / "corpus.txt"),
        model_prefix=str(tmp_path / "spiece"),
        vocab_size=300,
        hard_vocab_limit=False,
        minloglevel=2,
        **{"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1},
    )
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    tokenizer = tokenizer_of(tmp_path)
    assert "".join(tokenizer.tokenize("a good film")) == "▁a▁good▁film"
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (0, 1)
