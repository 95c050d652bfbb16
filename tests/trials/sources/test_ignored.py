"""What lies beside the weights and is passed over is said, and nothing that changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from folders_for_tests import BERT, write_model

from trials.sources.ignored import head_unseen, ignored


def beside(folder: Path, name: str, values: Any) -> Path:
    (folder / name).write_text(values if isinstance(values, str) else json.dumps(values))
    return folder / name


@pytest.mark.parametrize(
    "values",
    [
        {"repetition_penalty": 2.0},
        {"num_beams": 4},
        {"do_sample": True},
        {"no_repeat_ngram_size": 3},
        {"forced_bos_token_id": 0},
        {"suppress_tokens": [1, 2]},
        {"min_length": 5},
    ],
)
@pytest.mark.parametrize("name", ["generation_config.json", "config.json"])
def test_settings_of_generation_are_named(name: str, values: dict[str, Any], tmp_path: Path) -> None:
    write_model(tmp_path)
    path = beside(tmp_path, name, {**BERT, **values})
    (found,) = ignored(tmp_path)
    ((key, value),) = values.items()
    for part in (str(path), f"{key} {json.dumps(value)}", "ignored", "greedily"):
        assert part in found


def test_what_sampling_alone_would_use_is_named_with_it(tmp_path: Path) -> None:
    write_model(tmp_path)
    beside(tmp_path, "generation_config.json", {"temperature": 0.6, "top_p": 0.9})
    assert ignored(tmp_path) == []
    beside(tmp_path, "generation_config.json", {"temperature": 0.6, "top_p": 0.9, "do_sample": True})
    assert "do_sample true, temperature 0.6, top_p 0.9" in ignored(tmp_path)[0]


def test_what_changes_nothing_is_not_named(tmp_path: Path) -> None:
    """Ids, versions, and the defaults that older versions of transformers wrote out."""
    defaults = {"do_sample": False, "num_beams": 1, "repetition_penalty": 1.0, "min_length": 0, "top_k": 50}
    ids = {"bos_token_id": 1, "eos_token_id": [2, 3], "pad_token_id": 0, "decoder_start_token_id": 0}
    write_model(tmp_path, {**BERT, **defaults, **ids, "bad_words_ids": None})
    beside(tmp_path, "generation_config.json", {**defaults, **ids, "transformers_version": "4.27", "max_length": 20})
    assert ignored(tmp_path) == []
    beside(tmp_path, "generation_config.json", "not JSON")
    assert ignored(tmp_path) == []
    assert ignored(tmp_path / "nowhere") == []


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"])
def test_an_adapter_beside_the_weights_is_named(name: str, tmp_path: Path) -> None:
    path = beside(write_model(tmp_path), name, {"peft_type": "LORA"})
    (found,) = ignored(tmp_path)
    assert found.startswith(f"{path} is ignored: a PEFT adapter")


def test_quantised_loading_is_named(tmp_path: Path) -> None:
    write_model(tmp_path, {**BERT, "quantization_config": {"load_in_8bit": True}})
    assert "quantization_config" in ignored(tmp_path)[0]


def test_a_head_that_nothing_speaks_of_is_named(tmp_path: Path) -> None:
    assert head_unseen(write_model(tmp_path)) == ""  # safetensors have names
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    found = head_unseen(tmp_path)
    for part in (
        "no language-model head was found",
        str(tmp_path / "config.json"),
        "architectures",
        "pytorch_model.bin",
    ):
        assert part in found
    for kind in ("BertModel", "BertForMaskedLM"):
        beside(tmp_path, "config.json", {**BERT, "architectures": [kind]})
        assert head_unseen(tmp_path) == ""
