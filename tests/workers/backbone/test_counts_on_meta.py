"""Counts by arithmetic equal those of modules built on every built-in backbone, on the meta device: shapes only."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from trials import backbones
from trials.modules.counts import capacity
from trials.modules.methods import count_of, named
from trials.modules.operations import OPERATIONS, default_sites
from trials.modules.positions import layout
from trials.modules.sites import sites
from trials.trial import Source, TaskRef, Training, Trial
from workers.backbone import weights
from workers.backbone.load import find_module
from workers.modules import soft_tokens
from workers.modules.modules import Modules

METHODS = ("prompt", "bitfit", "lora", "adapter")


@cache
def on_meta(name: str) -> Any:
    """The backbone as a worker builds it, without storage."""
    ref = backbones.get(name)
    with torch.device("meta"):
        model = weights._empty(ref)
    assert all(p.is_meta for p in model.parameters()), "a large one would fill the memory"
    return SimpleNamespace(ref=ref, model=model, device=torch.device("cpu"))


def zeros(model: nn.Module) -> Any:
    """Embeddings of the right width: the meta device has no values."""
    width = model.get_input_embeddings().weight.shape[1]  # type: ignore[operator]
    return lambda ids: torch.zeros(len(ids), width)


@pytest.mark.parametrize("name", backbones.BACKBONES)
def test_the_loaded_model_has_the_parameters_of_the_arithmetic(name: str) -> None:
    """T5's separate ``lm_head`` included, which transformers would tie."""
    model = on_meta(name).model
    assert sum(p.numel() for p in model.parameters()) == backbones.loaded_parameters(backbones.get(name))


@pytest.mark.parametrize("name", backbones.BACKBONES)
def test_methods_train_what_the_arithmetic_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soft_tokens, "_words", zeros)
    backbone = on_meta(name)
    task = TaskRef("sst2", Source("folder", "sst2", "0"))
    for method in map(named, METHODS):
        modules = Modules(backbone, [layout(Trial(backbone.ref, task, method, 1e-3, Training(1)))])
        modules.close()
        assert modules.thetas[0].numel() == count_of(method, backbone.ref), method.name


@pytest.mark.parametrize("name", backbones.BACKBONES)
def test_operations_hold_what_the_layers_have_room_for(name: str) -> None:
    """The rule of each operation over the layers that workers find behind its sites, from their own weights."""
    backbone, held = on_meta(name), dict.fromkeys(OPERATIONS, 0)
    for site in sites(backbone.ref):
        layer, columns = find_module(backbone, site)
        shape = tuple(layer.weight.shape)
        d_out, d_in = (shape[0] if columns is None else len(columns)), shape[-1]
        room = {"add": d_out, "concat": min(d_in, d_out) * (d_in + d_out), "plug": d_out * (2 * d_out + 1)}
        for op in OPERATIONS:
            held[op] += room[op] if site.kind in default_sites(backbone.ref.family, op) else 0
    assert held == capacity(backbone.ref, OPERATIONS)
