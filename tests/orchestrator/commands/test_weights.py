"""``apet weights``: what is on this machine, and having it there ahead."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from bins_for_tests import write_bin
from folders_for_tests import write_model
from safetensors.torch import save_file
from shell import apet, refused

from trials.backbones import BACKBONES
from trials.sources import copies
from workers.backbone import convert

HUB = BACKBONES["t5-small"].weights


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing on it, no network, and .bin files converted whatever their size."""
    monkeypatch.setenv("APET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(convert, "LARGE", 0)
    return tmp_path


def listed() -> dict[str, dict[str, Any]]:
    rows = json.loads(apet("weights", "--json").stdout)
    return {f"{row['backbone']} {row['kind']}": row for row in rows}


def downloaded(place: Path, fill: Callable[[Path], object]) -> Path:
    """A revision of t5-small in the hub's cache, its files links to blobs as the hub has them."""
    repository = place / "hub" / "models--google--t5-v1_1-small"
    snapshot = repository / "snapshots" / ("0" * 40)
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / HUB.version).write_text("0" * 40)
    fill(repository / "blobs")
    snapshot.mkdir(parents=True)
    for blob in (repository / "blobs").iterdir():
        (snapshot / blob.name).symlink_to(Path("..", "..", "blobs", blob.name))
    return snapshot


def test_what_is_here_is_listed_with_size_precision_and_place(place: Path) -> None:
    def fill(blobs: Path) -> None:
        blobs.mkdir()
        save_file({"a": torch.zeros(100, 10, dtype=torch.bfloat16)}, blobs / "model.safetensors")

    snapshot = downloaded(place, fill)
    found = listed()
    row = found["t5-small hub"]
    assert (row["precision"], row["state"], row["place"]) == ("bf16", "whole", str(snapshot))
    assert row["bytes"] == (snapshot / "model.safetensors").stat().st_size
    assert not [name for name in found if "tiny" in name or "bert-base" in name]
    assert found["quickstart-l6 package"]["precision"] == "fp32"
    text = apet("weights").stdout.splitlines()
    assert text[0].split() == ["backbone", "kind", "precision", "size", "state", "place"]
    assert len(text) == 1 + len(found)
    (snapshot / "model.safetensors").unlink()
    assert listed()["t5-small hub"]["state"] == "partial"


def test_a_folder_is_checked_and_converted_ahead(place: Path) -> None:
    model = write_bin(place / "model")
    fetched = apet("weights", "fetch", "mine", "--model-dir", model, "--precision", "bf16", "--json")
    folder, copy = json.loads(fetched.stdout)
    assert (folder["kind"], folder["precision"], folder["place"]) == ("folder", "fp32", str(model))
    assert (copy["kind"], copy["precision"], copy["state"]) == ("converted", "bf16", "whole")
    assert copy["bytes"] == sum(path.stat().st_size for path in Path(copy["place"]).glob("*.safetensors"))
    assert listed()["mine converted"] == copy
    assert "mine: its weights are here" in fetched.stderr
    before = Path(copy["place"], copies.INDEX).stat().st_mtime_ns
    assert json.loads(apet("weights", "fetch", "mine", "--model-dir", model, "--precision", "bf16", "--json").stdout)
    assert Path(copy["place"], copies.INDEX).stat().st_mtime_ns == before
    [_, other] = json.loads(apet("weights", "fetch", "mine", "--model-dir", model, "--json").stdout)
    assert other["precision"] == ("bf16" if torch.cuda.is_available() else "fp32")
    next(Path(copy["place"]).glob("*.safetensors")).unlink()
    assert [row["state"] for row in json.loads(apet("weights", "--json").stdout)[-2:]] == ["partial", "whole"]


def test_what_the_hub_has_given_is_converted(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The snapshot's links lead to the blobs; a shape that isn't the table's is refused before that."""
    downloaded(place, lambda blobs: write_bin(blobs))
    says = ["t5-small", "shared.weight is [2048, 64] in pytorch_model.bin, not [32128, 512]"]
    refused("weights", "fetch", "t5-small", says=says)
    monkeypatch.setattr("trials.sources.tensors.needed", lambda ref: shapes)
    shapes = {name: tuple(value.shape) for name, value in _state(place).items()}
    rows = json.loads(apet("weights", "fetch", "t5-small", "--precision", "fp32", "--json").stdout)
    assert [(row["backbone"], row["kind"], row["precision"]) for row in rows] == [
        ("t5-small", "hub", "fp32"),
        ("t5-small", "converted", "fp32"),
    ]


def _state(place: Path) -> dict[str, torch.Tensor]:
    [path] = (place / "hub").rglob("snapshots/*/pytorch_model.bin")
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
    return state


def test_a_hub_that_cannot_be_reached_is_said_with_what_to_do(place: Path) -> None:
    says = ["t5-xxl", "HF_HUB_OFFLINE is set", "google/t5-v1_1-xxl", "bring its files here", "model_dir"]
    refused("weights", "fetch", "t5-xxl", says=says)


def test_a_download_without_weights_is_no_download(place: Path) -> None:
    downloaded(place, lambda blobs: (blobs.mkdir(), (blobs / "config.json").write_text("{}")))
    refused("weights", "fetch", "t5-small", says=["no weights there", "google/t5-v1_1-small"])


def test_what_needs_no_fetching_is_said(place: Path) -> None:
    result = apet("weights", "fetch", "tiny-t5")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "random, and made whenever it is loaded" in result.stderr
    [row] = json.loads(apet("weights", "fetch", "quickstart-l6", "--json").stdout)
    assert row["kind"] == "package"


def test_bad_input_is_refused(place: Path) -> None:
    model = write_bin(place / "model")
    other = write_model(place / "other", {"model_type": "gpt2"})
    for words, says in (
        (["t5-xx"], ["'t5-xx'", "did you mean t5-xxl", "--model-dir DIR"]),
        (["t5-xxl", "--precision", "fp8"], ["'fp8'", "bf16, fp32"]),
        (["mine", "--model-dir", place / "nowhere"], [f"{place / 'nowhere'}: not found", "config.json"]),
        (["mine", "--model-dir", other], ["config.json: model_type: family 'gpt2' is unknown", "bert, bloom, t5"]),
        (["t5-xxl", "--model-dir", model], ["another shape than the built-in one", "blocks 2, not 24"]),
    ):
        refused("weights", "fetch", *words, says=says)
    refused("weights", "--json", "fetch", "t5-xxl", says=["--json stands behind"])
    state = torch.load(model / "pytorch_model.bin", weights_only=True)
    torch.save({**state, "run": Path("x")}, model / "pytorch_model.bin")
    refused("weights", "fetch", "mine", "--model-dir", model, says=["not a file of tensors alone", "plain tensors"])
    assert not list((place / "cache").rglob("*.safetensors"))
