"""Sites stand at layers of their widths on every backbone, without storage; T5's own ``lm_head`` stays its own."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_for_tests import batch, frozen, pack

from trials import backbones
from trials.modules import counts, methods
from trials.modules.operations import OPERATIONS
from trials.modules.positions import layout
from trials.modules.sites import sites
from workers.backbone import weights
from workers.backbone.load import digest, find_module, load
from workers.modules.modules import Modules


def on_meta(name: str) -> Any:
    ref = backbones.get(name)
    with torch.device("meta"):
        model = weights._empty(ref).requires_grad_(False)
    return SimpleNamespace(ref=ref, model=model, device=torch.device("meta"))


@pytest.mark.parametrize("name", backbones.BACKBONES)
def test_counts_and_capacities_are_those_of_the_layers(name: str) -> None:
    """Table 2 and the capacities, from transformers' own layers instead of shapes."""
    backbone = on_meta(name)
    held = dict.fromkeys(("lora", "bitfit", "adapter", *OPERATIONS), 0)
    for site in sites(backbone.ref):
        layer, columns = find_module(backbone, site)
        d_out, *rest = layer.weight.shape
        d_in = d_out if site.kind == "norm" else rest[0]
        out = d_out if columns is None else len(columns)
        assert (site.d_in, site.d_out) == (d_in, out), site.name
        held["bitfit"] += out
        if site.kind == "norm":
            continue
        held["concat"] += min(d_in, out) * (d_in + out)
        held["add"] += out * (site.kind not in ("k", "cross_k"))
        held["plug"] += out * (2 * out + 1) * (site.kind in ("o", "cross_o", "down"))
        held["lora"] += 8 * (d_in + out) * (site.kind in ("q", "v"))
        held["adapter"] += (24 * (2 * out + 1) + out) * (site.kind in ("o", "down"))
    assert counts.capacity(backbone.ref, OPERATIONS) == {op: held[op] for op in OPERATIONS}
    for method in ("lora", "bitfit", "adapter"):
        assert methods.count_of(methods.named(method), backbone.ref) == held[method]
    words = backbone.model.get_input_embeddings().weight
    assert tuple(words.shape) == (backbone.ref.shape.vocab, backbone.ref.shape.d_model)
    assert methods.count_of(methods.named("prompt"), backbone.ref) == 100 * words.shape[1]


@pytest.mark.parametrize("name", ["tiny-bert", "tiny-bloom", "tiny-t5"])
def test_sites_stand_where_the_model_computes_them(name: str) -> None:
    """Layers of equal shape could be taken for each other: one forward pass calls them in the canonical order."""
    backbone = frozen(name)
    names: dict[Any, list[str]] = {}
    for site in sites(backbone.ref):
        names.setdefault(find_module(backbone, site)[0], []).append(site.name)
    called: list[str] = []
    for module, held in names.items():
        module.register_forward_hook(lambda *_, held=held: called.extend(held))
    with torch.no_grad():
        inputs = {"input_ids": torch.arange(20, 27)[None]}
        backbone.model(**inputs, **({"decoder_input_ids": inputs["input_ids"]} if name == "tiny-t5" else {}))
    assert called == [site.name for site in sites(backbone.ref)]


@pytest.mark.parametrize("method", ["lora", "bitfit", "adapter"])
@pytest.mark.parametrize("name", ["bert-large", "bloom-560m", "t5-small"])
def test_modules_built_without_storage_hold_the_count(name: str, method: str, trial: Any) -> None:
    backbone = on_meta(name)
    chosen = methods.named(method)
    modules = Modules(backbone, [layout(trial(name, trial={"method": chosen}))])
    assert [theta.numel() for theta in modules.thetas] == [methods.count_of(chosen, backbone.ref)]
    modules.close()


def test_t5_has_an_lm_head_of_its_own() -> None:
    """transformers 5 ties it to the embeddings when a model comes from a config."""
    ref = backbones.get("tiny-t5")
    backbone = load(ref, "random:tiny-t5")
    model: Any = backbone.model
    assert model.lm_head.weight.data_ptr() != model.shared.weight.data_ptr()
    assert backbone.parameters == sum(p.numel() for p in model.parameters()) == backbones.parameters(ref)
    rows = batch("tiny-t5")
    inputs = {"input_ids": rows["input_ids"], "decoder_input_ids": rows["labels"]}
    before = model(**inputs).logits
    model.lm_head.weight.data[7] += 1.0
    after = model(**inputs).logits
    changed = (after != before).flatten(0, 1).any(0)
    assert changed.nonzero().flatten().tolist() == [7]


def test_t5_logits_are_the_same_read_back_and_after_set_up(tmp_path: Path, trial: Any) -> None:
    """A same-size resize or a ``tie_weights()`` on the way would overwrite the head."""
    theirs = frozen("tiny-t5").model
    theirs.config.tie_word_embeddings = False
    theirs.save_pretrained(tmp_path)
    for file in (weights.TOKENIZERS / "tiny-t5").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    backbone = load(backbones.get("tiny-t5"), f"folder:{tmp_path}")
    rows = batch("tiny-t5")
    inputs = {"input_ids": rows["input_ids"], "decoder_input_ids": rows["labels"]}
    expected = theirs(**inputs).logits
    assert torch.equal(backbone.model(**inputs).logits, expected)
    with pack(backbone, [trial("tiny-t5", count=500), trial("tiny-t5", method="prompt", tokens=3)]) as (model, modules):
        model(rows).sum().backward()
        modules.active = [0]
        model.generate(rows, 3)
    assert torch.equal(backbone.model(**inputs).logits, expected)
    assert digest(backbone.model) == backbone.weights_digest
