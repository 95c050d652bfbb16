"""What ``apet plan`` says of a model folder before anything is loaded."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from folders_for_tests import BERT, write_model
from shell import SMALL, apet, refused, small

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 133508\n"
MINE = SMALL.replace("[tiny-bert, tiny-t5]", "[{name: mine, family: bert, model_dir: model}]")


def folder(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


def cut(model: Path) -> None:
    path = model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4])


def cut_header(model: Path) -> None:
    path = model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:20])


def pointer(model: Path) -> None:
    (model / "model.safetensors").write_text(POINTER)


def missing_shard(model: Path) -> None:
    (model / "model.safetensors").rename(model / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))


def torn_index(model: Path) -> None:
    (model / "model.safetensors.index.json").write_text('{"weight_map": ')


def no_type(model: Path) -> None:
    (model / "config.json").write_text(json.dumps({k: v for k, v in BERT.items() if k != "model_type"}))


def config_pointer(model: Path) -> None:
    (model / "config.json").write_text(POINTER)


def config_utf_16(model: Path) -> None:
    (model / "config.json").write_bytes(json.dumps(BERT).encode("utf-16"))


def pointer_bin(model: Path) -> None:
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_text(POINTER)


def cut_bin(model: Path) -> None:
    (model / "model.safetensors").unlink()
    path = model / "pytorch_model.bin"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"x" * 1000)
    path.write_bytes(path.read_bytes()[:-60])


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (cut, ["model.safetensors", "not a whole safetensors file", "copy it again"]),
        (cut_header, ["model.safetensors", "not a whole safetensors file"]),
        (pointer, ["model.safetensors", "a git-lfs pointer", "git lfs pull"]),
        (missing_shard, ["model.safetensors.index.json", "model-00002-of-00002.safetensors is not there"]),
        (torn_index, ["model.safetensors.index.json", "no index of shards"]),
        (no_type, ["config.json", "no model_type", "family is bert"]),
        (config_pointer, ["config.json", "can't be read as JSON"]),
        (config_utf_16, ["config.json", "can't be read as JSON"]),
        (pointer_bin, ["pytorch_model.bin", "a git-lfs pointer"]),
        (cut_bin, ["pytorch_model.bin", "its end is missing"]),
    ],
)
def test_a_folder_that_is_damaged(damage: Callable[[Path], None], says: list[str], tmp_path: Path) -> None:
    path = small(tmp_path, MINE)
    model = folder(tmp_path)
    assert apet("plan", path).exit_code == 0
    damage(model)
    for command in (("plan", path), ("run", path, "--store", tmp_path / "store")):
        refused(*command, says=["small.yaml:3:", "model_dir", str(model), *says])
    assert not (tmp_path / "store").exists()


def test_what_lies_beside_the_weights_is_a_warning(tmp_path: Path) -> None:
    path, model = small(tmp_path, MINE), folder(tmp_path)
    assert "warning" not in apet("plan", path).stdout
    (model / "generation_config.json").write_text('{"repetition_penalty": 2.0}')
    (model / "adapter_config.json").write_text("{}")
    found = apet("plan", path)
    assert found.exit_code == 0
    assert f"warning: mine: {model / 'generation_config.json'} sets repetition_penalty 2.0" in found.stdout
    assert f"warning: mine: {model / 'adapter_config.json'} is ignored" in found.stdout
    assert len(json.loads(apet("plan", path, "--json").stdout)["warnings"]) == 2


def test_a_head_that_nothing_speaks_of_is_a_warning(tmp_path: Path) -> None:
    path, model = small(tmp_path, MINE), folder(tmp_path)
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    assert "warning: mine: no language-model head was found" in apet("plan", path).stdout
    (model / "config.json").write_text(json.dumps({**BERT, "architectures": ["BertForMaskedLM"]}))
    assert "warning" not in apet("plan", path).stdout


def test_labels_that_nobody_gave_are_refused_before_anything_runs(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for split in ("train", "validation"):
        row = json.dumps({"sentence": "a phrase", "label": 1})
        (data / f"{split}.jsonl").write_text(f"{row}\n" * 20)
    path = small(tmp_path, SMALL.replace("[rte]", "[{name: sst2, data_dir: data}]"))
    assert apet("plan", path).exit_code == 0
    test = data / "test.jsonl"
    test.write_text('{"sentence": "a phrase that nobody labelled", "label": -1}\n')
    for command in (("plan", path), ("run", path, "--store", tmp_path / "store")):
        says = ["small.yaml:4:", f"{test}, row 1, column label", "-1", "0 (negative), 1 (positive)"]
        refused(*command, says=[*says, "take the test file out of the folder, and validation is the test split"])
    assert not (tmp_path / "store").exists()


def test_a_sweep_in_another_encoding_or_with_a_long_name(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_bytes(SMALL.encode("utf-16"))
    refused("plan", path, says=["not UTF-8 text (byte 0)", "saved as UTF-8"])
    path.write_bytes(SMALL.encode("utf-8-sig").replace(b"\n", b"\r\n"))
    assert apet("plan", path).exit_code == 0
    path.write_text(SMALL + "\0")
    refused("plan", path, says=["small.yaml", "not YAML"])
    path.write_text(SMALL.replace("name: small", f"name: {'x' * 245}"))
    refused("plan", path, says=["small.yaml:2:7", "100 at most"])
    refused("plan", "x" * 300, says=["File name too long"])
