"""The card beside an export: its code loads what was trained, and it says on what and how well."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from exports_for_tests import FAMILIES, LORA, batch, in_peft, kept, outputs, trained, trial_of
from weights_for_tests import on_weights, write_weights

import orchestrator
from trials import backbones
from trials.modules.methods import count_of
from trials.trial import Method


def code_of(card: str) -> list[str]:
    """The Python blocks of a card."""
    return re.findall(r"```python\n(.*?)```", card, re.DOTALL)


@pytest.mark.parametrize("where", ["folder", "random"])
@pytest.mark.parametrize("method", [LORA, Method("prompt", tokens=3)], ids=lambda m: m.name)
@pytest.mark.parametrize("name", FAMILIES)
def test_the_code_of_a_card_loads_what_was_trained(
    name: str, method: Method, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By PEFT's own classes where it can: of a folder, by nothing but what is in the export."""
    one, location = trial_of(name, method), f"random:{name}"
    if where == "folder":
        folder = write_weights(name, tmp_path / "my model's")
        one, location = on_weights(one, folder), f"folder:{folder}"
    module, backbone = trained(one, location)
    found = {"weights_source": location, "sweep": "small", "test_score": 0.25, "metrics": {"f1": 0.125}}
    orchestrator.export(one.trial_id, kept(tmp_path, module, **found), "peft", tmp_path / "out")
    inputs = batch(backbone.ref.family)
    expected = outputs(in_peft(backbone.model, tmp_path / "out"), inputs)
    codes = code_of((tmp_path / "out" / "README.md").read_text())
    automatic = where == "folder" and (name, method.name) != ("tiny-bert", "prompt")
    assert ["AutoPeftModel" in code for code in codes] == ([True, False] if automatic else [False])
    monkeypatch.chdir(tmp_path / "out")
    for code in codes:
        names: dict[str, Any] = {}
        exec(code, names)
        torch.testing.assert_close(outputs(names["model"].eval(), inputs), expected, atol=1e-5, rtol=1e-5)


def test_the_card_of_a_module_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, backbone = trained(trial_of("tiny-bert", Method("adapter", bottleneck=2)))
    modules = module.onto(backbone)
    ours = outputs(backbone.model, batch("bert"))
    modules.close()
    orchestrator.export(module.trial.trial_id, kept(tmp_path, module), "safetensors", tmp_path / "out")
    monkeypatch.chdir(tmp_path / "out")
    [code] = code_of(Path("README.md").read_text())
    names: dict[str, Any] = {}
    exec(code, names)
    assert torch.equal(outputs(names["backbone"].model, batch("bert")), ours)


def test_what_a_card_says(tmp_path: Path) -> None:
    module, _ = trained(trial_of("tiny-bloom", LORA))
    module = replace(module, trial=replace(module.trial, backbone=backbones.get("bloom-560m")), weights_digest="d1ge5t")
    count = count_of(LORA, module.trial.backbone)
    assert count is not None
    module = replace(module, theta=torch.zeros(count), precision="bf16")
    found = {"sweep": "a|b `c`", "test_score": 0.25, "metric": "accuracy", "metrics": {"f1": 0.125}, "test_rows": 1638}
    store = kept(tmp_path, module, **found, data_source="folder:data/rte", versions={"torch": "2.13.0"})
    orchestrator.export(module.trial.trial_id, store, "peft", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    _, header, text = card.split("---\n", 2)
    hub = module.trial.backbone.weights
    assert yaml.safe_load(header) == {"tags": ["apet"], "library_name": "peft", "base_model": hub.name}
    assert f"revision={hub.version!r}, dtype=torch.bfloat16" in text
    for line in (
        f"Trial `{module.trial.trial_id}` of sweep `` a|b `c` ``",
        "rank 6, zero where a branch doesn't reach",
        "| test_score | 0.25 |",
        "| f1 | 0.125 |",
        "| digest of the weights as loaded | `d1ge5t` |",
        "| precision | `bf16` |",
        "| data found at | `folder:data/rte` |",
        "| rows (train/validation/test) | `-/-/1,638` |",
        "| version of torch | `2.13.0` |",
    ):
        assert line in text
    assert json.dumps(json.loads(module.trial.spec), indent=1, ensure_ascii=False) in text
