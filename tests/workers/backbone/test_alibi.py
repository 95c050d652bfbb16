"""BLOOM's fused attention gives what transformers' own, in single products, gives: a contract, to 1e-5 in float32."""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from tiny_for_tests import CASES, batch, frozen, pack, randomised
from torch import Tensor

from trials import backbones
from workers.backbone import alibi, weights
from workers.backbone.load import load
from workers.modules.generation import first, following

CLOSE = {"atol": 1e-5, "rtol": 0}


def bloom(heads: int = 4) -> Any:
    """A tiny BLOOM of some heads, as the loader makes it."""
    ref = backbones.get("tiny-bloom")
    ref = replace(ref, shape=replace(ref.shape, heads=heads, d_model=16 * heads, d_kv=16))
    model = weights._empty(ref)
    weights._fill(model, ref)
    return SimpleNamespace(ref=ref, model=model.eval().requires_grad_(False), device=torch.device("cpu"))


def theirs(backbone: Any) -> Any:
    """The same with transformers' own attention."""
    import transformers as tf

    config = copy.deepcopy(backbone.model.config)
    config._attn_implementation = "eager"
    model = tf.BloomForCausalLM(config).to(next(backbone.model.parameters()).dtype).eval().requires_grad_(False)
    model.load_state_dict(backbone.model.state_dict())
    assert not any(isinstance(module, alibi._Attention) for module in model.modules())
    return SimpleNamespace(**{**vars(backbone), "model": model})


def rows(model: Any, *, padded: bool = True) -> dict[str, Tensor]:
    """Embedded, so that their gradient can be looked at."""
    given = batch("tiny-bloom", padded=padded)
    return {
        "inputs_embeds": model.get_input_embeddings()(given["input_ids"]).detach().requires_grad_(),
        "attention_mask": given["attention_mask"],
    }


@pytest.mark.parametrize("aligned", [1, 16])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("heads", [3, 4])
def test_outputs_and_gradients(heads: int, padded: bool, aligned: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what padding gives nobody reads a gradient; its outputs are finite, and theirs where no more keys stand."""
    monkeypatch.setitem(alibi.ALIGNED, "cpu", aligned)
    backbone = bloom(heads)
    found = []
    for each in (backbone, theirs(backbone)):
        given = rows(each.model, padded=padded)
        text = given["attention_mask"].bool()
        out = each.model(**given, use_cache=False).logits
        assert torch.isfinite(out).all()
        (out[text] * torch.linspace(-1, 1, out[text].numel()).view_as(out[text])).sum().backward()
        out = out if aligned == 1 else out[text]
        gradient = given["inputs_embeds"].grad
        assert gradient is not None
        found.append((out, gradient / gradient.abs().max()))
    torch.testing.assert_close(found[0], found[1], **CLOSE)


def test_without_a_mask_every_position_is_text() -> None:
    backbone = bloom()
    ids = torch.arange(20, 38).view(2, 9)
    torch.testing.assert_close(backbone.model(ids).logits, theirs(backbone).model(ids).logits, **CLOSE)


@pytest.mark.parametrize("aligned", [1, 16])
@torch.no_grad()
def test_single_tokens_after_a_cache(aligned: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(alibi.ALIGNED, "cpu", aligned)
    backbone = bloom()
    given = {name: x for name, x in batch("tiny-bloom").items() if name in ("input_ids", "attention_mask")}
    (mine, state), (other, its) = (first(each.model, given, cached=True) for each in (backbone, theirs(backbone)))
    for token in (30, 40, 50):
        torch.testing.assert_close(mine, other, **CLOSE)
        tokens = torch.full((4,), token)
        mine, other = following(backbone.model, tokens, state), following(theirs(backbone).model, tokens, its)
    torch.testing.assert_close(mine, other, **CLOSE)


def test_slices_with_modules_of_every_kind(trial: Any) -> None:
    backbone, given = frozen("tiny-bloom"), batch("tiny-bloom")
    found = []
    for each in (backbone, theirs(backbone)):
        with pack(each, [trial("tiny-bloom", **case) for case in CASES]) as (model, modules):
            randomised(modules)
            losses = model(given)
            losses.sum().backward()
            found.append((losses, [theta.grad for theta in modules.thetas]))
    torch.testing.assert_close(found[0], found[1], **CLOSE)


@pytest.mark.parametrize("mixed", [False, True])
def test_bf16(mixed: bool) -> None:
    """Under autocast the bias is made in bf16: a later cast would make its lowest number infinite, and padding NaN."""
    backbone = bloom()
    given = rows(backbone.model)
    exact = backbone.model(**given).logits
    if not mixed:
        backbone.model.to(torch.bfloat16)
        given["inputs_embeds"] = given["inputs_embeds"].to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        mine, other = (each.model(**given).logits for each in (backbone, theirs(backbone)))
    off = (other - exact).abs().max()
    assert (mine - exact).abs().max() < 2 * off < 1
    assert torch.isfinite(mine).all()


def test_the_bias_is_made_once_and_read_by_every_block() -> None:
    backbone = bloom()
    seen: list[Tensor] = []
    for block in backbone.model.transformer.h:
        block.register_forward_pre_hook(lambda _, args, more: seen.append(more["attention_mask"]), with_kwargs=True)
    backbone.model(**rows(backbone.model))
    assert [x.data_ptr() for x in seen] == [seen[0].data_ptr()] * backbone.ref.shape.blocks
    assert seen[0].shape == (4, backbone.ref.shape.heads, 9, 9)
    assert not seen[0].requires_grad


@pytest.mark.parametrize("place", ["random:tiny-bloom", "folder"])
def test_wherever_a_bloom_comes_from(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = backbones.get("tiny-bloom")
    if place == "folder":
        frozen("tiny-bloom").model.save_pretrained(tmp_path)
        assert "alibi" not in json.dumps(json.loads((tmp_path / "config.json").read_text()))
        for file in (weights.TOKENIZERS / "tiny-bloom").iterdir():
            shutil.copy(file, tmp_path)
        place = f"folder:{tmp_path}"
    kernel = Mock(side_effect=alibi.scaled_dot_product_attention)
    monkeypatch.setattr(alibi, "scaled_dot_product_attention", kernel)
    load(ref, place).model(torch.arange(20, 29)[None])
    assert kernel.call_count == ref.shape.blocks
