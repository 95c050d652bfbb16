"""A folder is read tensor by tensor: what is missing, strange or not finite is said, what lies beside is ignored."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_for_tests import FAMILIES, batch, frozen

from trials import backbones
from trials.errors import ApetError
from workers.backbone import weights
from workers.backbone.load import load
from workers.modules.model import PackModel

GOLDEN = json.loads((Path(__file__).parent / "golden_logits.json").read_text())


def saved(name: str, folder: Path, **options: Any) -> Path:
    """A tiny backbone as plain transformers writes it, T5 with the head of its own that v1.1 has."""
    model = frozen(name).model
    model.save_pretrained(folder, **options)
    config = json.loads((folder / "config.json").read_text())
    if name == "tiny-t5":
        (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False}))
    for file in (weights.TOKENIZERS / name).iterdir():
        shutil.copy(file, folder)
    return folder


def logits(name: str, model: Any) -> torch.Tensor:
    rows = batch(name)
    more = {"decoder_input_ids": rows["labels"]} if name == "tiny-t5" else {}
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=rows["input_ids"], attention_mask=rows["attention_mask"], **more).logits
    return found


@pytest.mark.parametrize("shard", ["10GB", "200KB"])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_folder_gives_the_model_that_was_saved_bitwise(name: str, shard: str, tmp_path: Path) -> None:
    ref, theirs = backbones.get(name), frozen(name).model
    found = load(ref, f"folder:{saved(name, tmp_path, max_shard_size=shard)}")
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (shard == "200KB")
    assert torch.equal(logits(name, found.model), logits(name, theirs))
    assert found.parameters == sum(p.numel() for p in theirs.parameters()) + (
        backbones.parameters(ref) - backbones.loaded_parameters(ref)
    )
    assert not any(p.requires_grad for p in found.model.parameters())


@pytest.mark.parametrize("name", FAMILIES)
def test_the_numbers_are_those_of_every_version_of_transformers(name: str, tmp_path: Path) -> None:
    """Made once by plain transformers 5.23: a later one that loads or computes otherwise is noticed."""
    found = logits(name, load(backbones.get(name), f"folder:{saved(name, tmp_path)}").model)
    assert found[:, -1, ::97].flatten().tolist() == pytest.approx(GOLDEN[name], abs=2e-5)


@pytest.mark.parametrize(
    ("name", "gone"),
    [
        ("tiny-t5", "lm_head.weight"),
        ("tiny-t5", "shared.weight"),
        ("tiny-t5", "decoder.block.1.layer.1.EncDecAttention.k.weight"),
        ("tiny-bloom", "transformer.word_embeddings.weight"),
        ("tiny-bert", "bert.embeddings.word_embeddings.weight"),
        ("tiny-bert", "cls.predictions.bias"),
    ],
)
def test_a_tensor_that_is_gone_is_named_and_never_made_up(name: str, gone: str, tmp_path: Path) -> None:
    file = saved(name, tmp_path) / "model.safetensors"
    tensors = load_file(file)
    del tensors[gone]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(ApetError, match=f"{gone} .* is missing"):
        load(backbones.get(name), f"folder:{tmp_path}")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", FAMILIES)
def test_numbers_that_are_not_finite_are_named_with_their_file(name: str, value: float, tmp_path: Path) -> None:
    file = saved(name, tmp_path) / "model.safetensors"
    tensors = load_file(file)
    bad = sorted(tensors)[3]
    tensors[bad].view(-1)[0] = value
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(ApetError, match=rf"model\.safetensors: {bad} holds numbers that are not finite"):
        load(backbones.get(name), f"folder:{tmp_path}")


def test_numbers_too_large_for_the_precision_are_refused(tmp_path: Path) -> None:
    file = saved("tiny-bert", tmp_path) / "model.safetensors"
    tensors = {key: value.double() for key, value in load_file(file).items()}
    tensors["cls.predictions.bias"][0] = 1e39
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(ApetError, match=r"cls\.predictions\.bias holds numbers that are not finite in torch\.float32"):
        load(backbones.get("tiny-bert"), f"folder:{tmp_path}")


@pytest.mark.parametrize("name", FAMILIES)
def test_a_bin_of_tensors_is_read_and_one_of_anything_else_is_not_run(name: str, tmp_path: Path) -> None:
    folder = saved(name, tmp_path)
    expected = logits(name, load(backbones.get(name), f"folder:{folder}").model)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    for new_format in (True, False):
        torch.save(tensors, folder / "pytorch_model.bin", _use_new_zipfile_serialization=new_format)
        assert torch.equal(logits(name, load(backbones.get(name), f"folder:{folder}").model), expected)
    torch.save({**tensors, "run": Runs(tmp_path / "ran")}, folder / "pytorch_model.bin")
    with pytest.raises(ApetError, match=r"pytorch_model\.bin: not a file of tensors alone"):
        load(backbones.get(name), f"folder:{folder}")
    assert not (tmp_path / "ran").exists()
    torch.save({"model": tensors}, folder / "pytorch_model.bin")
    with pytest.raises(ApetError, match="it holds more than tensors by name"):
        load(backbones.get(name), f"folder:{folder}")


class Runs:
    """What a pickle may do when it is opened."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return (Path.touch, (self.file,))


@pytest.mark.parametrize("name", ["tiny-bloom", "tiny-t5"])
@pytest.mark.parametrize("place", ["generation_config.json", "config.json"])
def test_generation_is_greedy_whatever_a_file_says(name: str, place: str, tmp_path: Path) -> None:
    seen = []
    for extra in ({}, {"repetition_penalty": 2.0, "num_beams": 4, "do_sample": True, "no_repeat_ngram_size": 1}):
        file = saved(name, tmp_path) / place
        file.write_text(json.dumps({**json.loads(file.read_text()), **extra}))
        backbone = load(backbones.get(name), f"folder:{tmp_path}")
        rows = backbone.tokenizer(["a good film", "a dull story of a town"], return_tensors="pt", padding=True)
        inputs = {key: rows[key] for key in ("input_ids", "attention_mask")}
        seen.append(PackModel(backbone, None).generate(inputs, 12))
    assert seen[0] == seen[1]


@pytest.mark.parametrize("name", FAMILIES)
def test_an_adapter_beside_the_weights_is_no_part_of_the_backbone(name: str, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    model = frozen(name).model
    targets = {"tiny-bert": ["query"], "tiny-bloom": ["query_key_value"], "tiny-t5": ["q"]}[name]
    config = peft.LoraConfig(r=4, lora_alpha=64, target_modules=targets, init_lora_weights=False)
    folder = saved(name, tmp_path)
    expected = logits(name, load(backbones.get(name), f"folder:{folder}").model)
    peft.get_peft_model(model, config).save_pretrained(folder)
    assert (folder / "adapter_config.json").exists()
    assert torch.equal(logits(name, load(backbones.get(name), f"folder:{folder}").model), expected)


def test_the_hub_s_snapshot_is_read_from_the_cache_with_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def snapshot(hub_id: str, *, revision: str, allow_patterns: list[str], ignore_patterns: list[str]) -> str:
        asked.append((hub_id, revision, allow_patterns[-1]))
        return str(tmp_path)

    asked: list[tuple[str, str, str]] = []
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    folder = saved("tiny-bloom", tmp_path)
    expected = logits("tiny-bloom", load(backbones.get("tiny-bloom"), f"folder:{folder}").model)
    found = load(backbones.get("tiny-bloom"), "hub:bigscience/tiny@abc")
    assert torch.equal(logits("tiny-bloom", found.model), expected)
    assert asked == [("bigscience/tiny", "abc", "*.safetensors")]
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert torch.equal(
        logits("tiny-bloom", load(backbones.get("tiny-bloom"), "hub:bigscience/tiny@abc").model), expected
    )
    assert asked[-1] == ("bigscience/tiny", "abc", "pytorch_model*.bin")


def test_a_worker_logs_what_it_ignores(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = saved("tiny-t5", tmp_path)
    load(backbones.get("tiny-t5"), f"folder:{folder}")
    assert caplog.messages == []
    config = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps({**config, "num_beams": 4}))
    load(backbones.get("tiny-t5"), f"folder:{folder}")
    assert len(caplog.messages) == 1
    assert f"{folder / 'generation_config.json'} sets num_beams 4, which is ignored" in caplog.messages[0]
