"""Trained modules, stores that hold one, and what models with them give."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from shell import SMALL

from trials import backbones
from trials.modules.methods import count_of
from trials.store.record import new_attempt_id, record
from trials.store.store import Store
from trials.sweep.sweep import Sweep
from trials.trial import Method, Trial
from workers.backbone import load as loading
from workers.backbone.load import Backbone
from workers.modules.file import ModuleFile

FAMILIES = ("tiny-bert", "tiny-bloom", "tiny-t5")


def trial_of(name: str, method: Method, **fields: Any) -> Trial:
    text = SMALL.replace("[tiny-bert, tiny-t5]", f"[{name}]")
    return replace(Sweep.parse(text).trials()[0], method=method, **fields)


def headless(head: str) -> dict[str, Any]:
    """An encoder without a language-model head."""
    ref = backbones.get("tiny-bert")
    return {"backbone": replace(ref, shape=replace(ref.shape, lm_head=False), head_scale=0.3), "head": head}


def trained(trial: Trial, location: str | None = None) -> tuple[ModuleFile, Backbone]:
    """A module with every scalar drawn, and the backbone it belongs to."""
    backbone = loading.load(trial.backbone, location or f"random:{trial.backbone.name}")
    count = count_of(trial.method, trial.backbone)
    assert count is not None
    theta = torch.from_numpy(np.random.RandomState(7).randn(count).astype(np.float32)) * 0.2
    head = torch.randn(2, trial.backbone.shape.d_model) if trial.head == "trained" else None
    return ModuleFile(trial, 2, backbone.weights_digest, "fp32", theta, head), backbone


def kept(folder: Path, module: ModuleFile, **columns: Any) -> Store:
    """A store that holds one module."""
    store = Store(folder / "store", create=True)
    attempt_id = new_attempt_id(module.trial.trial_id, 0)
    uri = store.save_module(module.trial.trial_id, attempt_id, module.to_bytes())
    columns = {"attempt_id": attempt_id, "module_uri": uri, **columns}
    store.append(record(module.trial, state="completed", **columns))
    return store


def batch(family: str, padding: str = "right") -> dict[str, torch.Tensor]:
    """Three rows, the second one padded; BERT has two texts in each, T5 a start of its answer."""
    ids = torch.arange(3 * 7).view(3, 7) * 31 % 2000 + 10
    mask = torch.ones_like(ids)
    mask[1, slice(5, 7) if padding == "right" else slice(0, 2)] = 0
    inputs = {"input_ids": ids, "attention_mask": mask}
    if family == "bert":
        inputs["token_type_ids"] = (torch.arange(7) > 3).long().expand(3, 7)
    if family == "t5":
        inputs["decoder_input_ids"] = ids[:, :4]
    return inputs


@torch.no_grad()
def outputs(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Logits; hidden states of a BERT without a language-model head."""
    out = model(**inputs)
    found: torch.Tensor = out.logits if hasattr(out, "logits") else out.last_hidden_state
    return found


def in_peft(model: Any, folder: Path) -> Any:
    """The model with the adapter of a folder."""
    from peft import PeftModel

    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*(missing|unexpected|ignoring)")
        return PeftModel.from_pretrained(model, str(folder)).eval()


LORA = Method("lora", rank=3, alpha=7.0)
