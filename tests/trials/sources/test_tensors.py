"""The table of a backbone's tensors is transformers' own, and what files hold is held against it."""

from __future__ import annotations

from math import prod
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from trials import backbones
from trials.errors import ApetError, Problems
from trials.sources.tensors import Stored, canonical_name, check_index, check_pointer, headers, match, needed
from workers.backbone import weights


@pytest.mark.parametrize("name", backbones.BACKBONES)
def test_the_table_is_the_model_s_own_and_adds_up(name: str) -> None:
    ref = backbones.get(name)
    with torch.device("meta"):
        model = weights._empty(ref)
    theirs = {key: tuple(p.shape) for key, p in model.named_parameters()}
    assert needed(ref) == theirs
    assert sum(map(prod, needed(ref).values())) == backbones.loaded_parameters(ref)


def stored(name: str) -> dict[str, Stored]:
    file = Path("model.safetensors")
    return {key: Stored(key, shape, file) for key, shape in needed(backbones.get(name)).items()}


@pytest.mark.parametrize("name", ["tiny-bert", "tiny-bloom", "tiny-t5", "quickstart-l6"])
def test_each_tensor_that_is_gone_is_named(name: str) -> None:
    whole = stored(name)
    assert set(match(backbones.get(name), whole, "there")) == set(whole)
    for gone in whole:
        with pytest.raises(Problems, match=f"{gone} .* is missing"):
            match(backbones.get(name), {key: one for key, one in whole.items() if key != gone}, "there")


@pytest.mark.parametrize("name", ["tiny-bert", "tiny-bloom", "tiny-t5"])
def test_wrong_shapes_and_strangers_are_named_with_their_file(name: str) -> None:
    whole, key = stored(name), next(iter(needed(backbones.get(name))))
    wrong = {**whole, key: Stored(key, (3, 5), Path("model-00002.safetensors"))}
    with pytest.raises(Problems, match=rf"{key} is \[3, 5\] in model-00002\.safetensors, not \["):
        match(backbones.get(name), wrong, "there")
    stranger = {**whole, "score.weight": Stored("score.weight", (2, 64), Path("model.safetensors"))}
    with pytest.raises(Problems, match=r"score\.weight \(model\.safetensors\) is no tensor of a"):
        match(backbones.get(name), stranger, "there")


def test_names_of_published_checkpoints_are_understood() -> None:
    bert, bare = backbones.get("bert-base"), backbones.get("quickstart-l6")
    assert canonical_name("bert.embeddings.LayerNorm.gamma", bert) == "bert.embeddings.LayerNorm.weight"
    assert canonical_name("encoder.layer.0.output.LayerNorm.beta", bare) == "encoder.layer.0.output.LayerNorm.bias"
    assert canonical_name("bert.encoder.layer.0.output.dense.bias", bare) == "encoder.layer.0.output.dense.bias"
    assert canonical_name("h.3.mlp.dense_4h_to_h.bias", backbones.get("bloom-560m")).startswith("transformer.h.3.")
    beside = ("bert.pooler.dense.weight", "cls.seq_relationship.bias", "cls.predictions.decoder.weight")
    whole = stored("bert-base") | {name: Stored(name, (1,), Path("x")) for name in beside}
    assert match(bert, whole, "there").keys() == needed(bert).keys()
    t5 = stored("t5-small")
    copied = {**t5, "encoder.embed_tokens.weight": t5["shared.weight"]}
    del copied["shared.weight"]
    assert match(backbones.get("t5-small"), copied, "there").keys() == needed(backbones.get("t5-small")).keys()


def test_files_that_are_not_whole_are_named(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(4, 3), "b": torch.zeros(2)}, file)
    assert {name: one.shape for name, one in headers((file,)).items()} == {"a": (4, 3), "b": (2,)}
    content = file.read_bytes()
    for cut in (content[:4], content[:40], content[:-1], content + b"x"):
        file.write_bytes(cut)
        with pytest.raises(ApetError, match=r"model\.safetensors: not a whole safetensors file"):
            headers((file,))
    file.write_bytes(content.replace(b"[4,3]", b"[4,2]"))
    with pytest.raises(ApetError, match=r"a has 48 bytes, which is not F32 \[4, 2\]"):
        headers((file,))
    file.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n")
    with pytest.raises(ApetError, match="git lfs pull"):
        check_pointer(file)
    with pytest.raises(ApetError, match="git lfs pull"):
        headers((file,))


def test_a_shard_that_an_index_names_must_be_there(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(4)}, tmp_path / "model-00001-of-00002.safetensors")
    files = tuple(tmp_path.glob("*.safetensors"))
    index = tmp_path / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "model-00001-of-00002.safetensors"}}')
    check_index(tmp_path, files)
    index.write_text(
        '{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}'
    )
    with pytest.raises(ApetError, match=r"shard model-00002-of-00002\.safetensors is not there"):
        check_index(tmp_path, files)
    index.write_text("[]")
    with pytest.raises(ApetError, match="no index of shards"):
        check_index(tmp_path, files)
