"""What leaves the store: PEFT is the second opinion on its adapters, the worker reads its module files again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from exports_for_tests import FAMILIES, LORA, batch, headless, in_peft, kept, outputs, trained, trial_of
from safetensors.torch import load_file
from shell import SMALL, apet, refused, row, small, stored

import orchestrator
from trials.errors import ApetError
from trials.modules.methods import count_of
from trials.sweep.sweep import Sweep
from trials.trial import Method
from workers.modules import soft_tokens
from workers.modules.file import ModuleFile


@pytest.mark.parametrize("name", FAMILIES)
def test_lora_gives_the_same_outputs_in_peft(name: str, tmp_path: Path) -> None:
    module, backbone = trained(trial_of(name, LORA))
    inputs = batch(backbone.ref.family)
    plain = outputs(backbone.model, inputs)
    modules = module.onto(backbone)
    ours = outputs(backbone.model, inputs)
    modules.close()
    store, out = kept(tmp_path, module), tmp_path / "out"
    result = apet("export", module.trial.trial_id[:8], "--store", store.uri, "--format", "peft", "--out", out)
    assert result.exit_code == 0, result.output
    assert result.stdout.split() == [
        str(out / f) for f in ("adapter_config.json", "adapter_model.safetensors", "README.md")
    ]
    assert ("rank 6, zero where a branch doesn't reach" in result.stderr) == (name == "tiny-bloom")
    assert (ours - plain).abs().max() > 1e-2
    torch.testing.assert_close(outputs(in_peft(backbone.model, out), inputs), ours, atol=1e-5, rtol=1e-5)


# Padding as each family's rows have it; on the left PEFT puts it between prompt and text, which BLOOM doesn't see
@pytest.mark.parametrize(
    ("name", "padding"), [("tiny-bert", "right"), ("tiny-bloom", "right"), ("tiny-bloom", "left"), ("tiny-t5", "right")]
)
def test_prompt_gives_the_same_outputs_in_peft(name: str, padding: str, tmp_path: Path) -> None:
    module, backbone = trained(trial_of(name, Method("prompt", tokens=3)))
    inputs = batch(backbone.ref.family, padding)
    modules = module.onto(backbone)
    entered, n = soft_tokens.enter(inputs, modules.prompts(), backbone.model, backbone.ref.family)
    answer = {k: v for k, v in inputs.items() if k == "decoder_input_ids"}
    text = slice(0 if answer else n, None)
    ours = outputs(backbone.model, {**entered, **answer})[:, text]
    modules.close()
    plain = outputs(backbone.model, inputs)
    orchestrator.export(module.trial.trial_id, kept(tmp_path, module), "peft", tmp_path / "out")
    theirs = outputs(in_peft(backbone.model, tmp_path / "out"), inputs)[:, text]
    real = torch.ones(ours.shape[:2], dtype=torch.bool) if answer else inputs["attention_mask"].bool()
    assert (ours - plain)[real].abs().max() > 1e-2
    torch.testing.assert_close(theirs[real], ours[real], atol=1e-5, rtol=1e-5)


def test_an_adapter_names_its_model(tmp_path: Path) -> None:
    for name, task_type, model in (
        ("bert-base", None, "BertForMaskedLM"),
        ("bloom-560m", "CAUSAL_LM", None),
        ("t5-small", "SEQ_2_SEQ_LM", None),
    ):
        trial = trial_of(name, Method("lora", rank=1, alpha=2.0))
        count = count_of(trial.method, trial.backbone)
        assert count is not None
        module = ModuleFile(trial, 2, "digest", "fp32", torch.zeros(count))
        out = tmp_path / name
        orchestrator.export(trial.trial_id, kept(tmp_path / f"{name}-store", module), "peft", out)
        config = json.loads((out / "adapter_config.json").read_text())
        hub = trial.backbone.weights
        assert (config["base_model_name_or_path"], config["revision"]) == (hub.name, hub.version)
        assert config["task_type"] == task_type
        assert (config["auto_mapping"] or {}).get("base_model_class") == model


@pytest.mark.parametrize("head", ["frozen", "trained"])
def test_an_encoders_head_comes_beside_the_adapter(head: str, tmp_path: Path) -> None:
    module, backbone = trained(trial_of("tiny-bert", LORA, **headless(head)))
    modules = module.onto(backbone)
    ours = outputs(backbone.model, batch("bert"))
    modules.close()
    done = orchestrator.export(module.trial.trial_id, kept(tmp_path, module), "peft", tmp_path / "out")
    assert [path.name for path in done.files][2:] == ["head.safetensors", "README.md"]
    assert any(head in note for note in done.notes)
    theirs = outputs(in_peft(backbone.model, tmp_path / "out"), batch("bert"))
    torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=1e-5)
    weight = load_file(tmp_path / "out" / "head.safetensors")["head"]
    assert weight.shape == (2, 64)
    assert weight.any()
    if module.head is not None:
        assert torch.equal(weight, module.head)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_stores_own_file_is_loaded_again(name: str, tmp_path: Path) -> None:
    method = next(
        t.method
        for t in Sweep.parse(SMALL.replace("[tiny-bert, tiny-t5]", f"[{name}]")).trials()
        if t.method.count == 100
    )
    module, backbone = trained(trial_of(name, method, position_seed=1))
    modules = module.onto(backbone)
    ours = outputs(backbone.model, batch(backbone.ref.family))
    modules.close()
    store = kept(tmp_path, module)
    done = orchestrator.export(module.trial.trial_id, store, "safetensors", str(tmp_path / "out"))
    again = ModuleFile.from_bytes(done.files[0].read_bytes())
    modules = again.onto(backbone)
    assert torch.equal(outputs(backbone.model, batch(backbone.ref.family)), ours)
    modules.close()
    refused(
        *("export", module.trial.trial_id, "--store", store.uri, "--format", "peft", "--out", tmp_path / "peft"),
        says=["peft holds lora and prompt only", "this is apet", "--format safetensors"],
    )
    assert not (tmp_path / "peft").exists()


def test_what_cannot_be_exported(tmp_path: Path) -> None:
    store, trials = stored(tmp_path)
    tail = ("--store", store.uri, "--format", "safetensors", "--out", tmp_path / "out")
    refused("export", "zz", *tail, says=["no trial 'zz'", "apet query"])
    refused("export", trials[0].trial_id, *tail, says=["no module", "full fine-tuning", "another method"])
    refused("export", trials[1].trial_id, *tail, says=["no module", "ValueError", "apet resubmit"])
    refused("export", trials[2].trial_id, *tail, says=["no module", "diverged"])
    refused("export", trials[1].trial_id, *tail[:3], "onnx", *tail[4:], says=["onnx", "safetensors", "peft"])
    refused("export", trials[1].trial_id, "--store", tmp_path / "none", *tail[2:], says=["no store"])
    store.append(row(trials[3], module_uri="modules/00/gone.safetensors"))
    refused("export", trials[3].trial_id, *tail, says=["modules/00/gone.safetensors", "copied without"])
    assert not (tmp_path / "out").exists()
    with pytest.raises(ApetError, match=r"'onnx' is unknown; .*safetensors, peft"):
        orchestrator.export(trials[1].trial_id, store, "onnx", tmp_path / "out")


def test_folders_that_hold_something_and_damaged_modules(tmp_path: Path) -> None:
    module, _ = trained(trial_of("tiny-bert", LORA))
    store = kept(tmp_path, module)
    words = ("export", module.trial.trial_id, "--store", store.uri, "--format", "peft", "--out")
    refused(*words, tmp_path, says=[str(tmp_path), "not empty"])
    refused(*words, small(tmp_path), says=["small.yaml", "is a file"])
    refused(*words, small(tmp_path) / "below", says=["small.yaml", "give another folder"])
    (file,) = Path(store.uri, "modules").rglob("*.safetensors")
    whole, other = file.read_bytes(), replace(module, trial=replace(module.trial, train_seed=5))
    (tmp_path / "empty").mkdir()
    for wrong, says in (
        (whole[:-4], "no whole module file"),
        (whole.replace(b'"version":"1"', b'"version":"9"'), "version 9 of apet-module; this build reads 1"),
        (other.to_bytes(), f"is the module of trial {other.trial.trial_id}"),
    ):
        file.write_bytes(wrong)
        refused(*words, tmp_path / "empty", says=[says, str(file.relative_to(store.uri))])
    assert not any((tmp_path / "empty").iterdir())
