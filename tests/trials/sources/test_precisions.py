"""What precision files have is read without running anything in them."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from trials.sources.precisions import precision_of

NAMES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "fp64": torch.float64}


class Runs:
    """What a pickle may do when it is opened."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return (Path.touch, (self.file,))


@pytest.mark.parametrize("name", NAMES)
def test_the_precision_of_files(name: str, tmp_path: Path) -> None:
    state = {"a": torch.zeros(3, 4, dtype=NAMES[name]), "b": torch.zeros(5, dtype=NAMES[name]), "c": torch.arange(7)}
    save_file(state, tmp_path / "model.safetensors")
    assert precision_of([tmp_path / "model.safetensors"]) == name
    torch.save({**state, "x": Runs(tmp_path / "ran")}, tmp_path / "pytorch_model.bin")
    assert precision_of([tmp_path / "pytorch_model.bin"]) == name
    assert not (tmp_path / "ran").exists()


def test_what_cannot_be_read_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"cut")
    (tmp_path / "pytorch_model.bin").write_bytes(b"PK cut")
    torch.save({"a": torch.zeros(3)}, tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    with zipfile.ZipFile(tmp_path / "other.bin", "w") as archive:
        archive.writestr("no pickle", "")
    for name in ("model.safetensors", "pytorch_model.bin", "old.bin", "other.bin", "model.onnx"):
        assert precision_of([tmp_path / name]) is None
    assert precision_of([]) is None
