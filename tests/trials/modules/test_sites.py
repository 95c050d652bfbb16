"""Sites: canonical order is the order of the forward pass; who may stand where."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from paths import ROOT

from trials import backbones
from trials.errors import ApetError
from trials.families import BLOCKS, FAMILIES
from trials.modules import operations as ops
from trials.modules import sites

FORWARD = {  # one block of transformers, in our words
    **{"attention.self.query": "q", "attention.self.key": "k", "attention.self.value": "v"},
    **{"attention.output.dense": "o", "attention.output.LayerNorm": "norm_o", "intermediate.dense": "up"},
    **{"output.dense": "down", "output.LayerNorm": "norm_down"},
    **{"input_layernorm": "norm_q", "self_attention.query_key_value": "q k v", "self_attention.dense": "o"},
    **{"post_attention_layernorm": "norm_up", "mlp.dense_h_to_4h": "up", "mlp.dense_4h_to_h": "down"},
    **{f"layer.0.SelfAttention.{x}": x for x in "qkvo"},
    **{f"layer.1.EncDecAttention.{x}": f"cross_{x}" for x in "qkvo"},
    "layer.0.layer_norm": "norm_q",
}
BLOCK = {"bert": "encoder.layer.", "bloom": "transformer.h.", "t5": "block."}
ENDS = {
    "embeddings.LayerNorm": "encoder.embedding.norm",
    "transformer.word_embeddings_layernorm": "decoder.embedding.norm",
    "transformer.ln_f": "decoder.final.norm",
    "encoder.final_layer_norm": "encoder.final.norm",
    "decoder.final_layer_norm": "decoder.final.norm",
}


def our_names(family: str, name: str) -> list[str]:
    """The sites that a module of transformers stands for."""
    if name in ENDS:
        return [ENDS[name]]
    stack, _, rest = name.partition(BLOCK[family])
    block, _, inner = rest.partition(".")
    if family == "t5":
        stack = stack.rstrip(".")
        last = "2" if stack == "decoder" else "1"
        ends = {"layer_norm": "norm_gate", "DenseReluDense.wi_0": "gate", "DenseReluDense.wi_1": "up"}
        slots = {f"layer.{last}.{k}": v for k, v in {**ends, "DenseReluDense.wo": "down"}.items()}
        slots = {**FORWARD, **({"layer.1.layer_norm": "norm_cross_q"} if stack == "decoder" else {}), **slots}
    else:
        stack, slots = {"bert": "encoder", "bloom": "decoder"}[family], FORWARD
    return [f"{stack}.{block}.{slot}" for slot in slots[inner].split()]


def tiny_model(family: str) -> Any:
    s = backbones.get(f"tiny-{family}").shape
    if family == "bert":
        config: Any = transformers.BertConfig(
            vocab_size=s.vocab,
            hidden_size=s.d_model,
            num_hidden_layers=s.blocks,
            num_attention_heads=s.heads,
            intermediate_size=s.d_ff,
        )
        return transformers.BertModel(config, add_pooling_layer=False)
    if family == "bloom":
        config = transformers.BloomConfig(vocab_size=s.vocab, hidden_size=s.d_model, n_layer=s.blocks, n_head=s.heads)
        return transformers.BloomForCausalLM(config)
    config = transformers.T5Config(
        vocab_size=s.vocab,
        d_model=s.d_model,
        d_kv=s.d_kv,
        d_ff=s.d_ff,
        num_layers=s.blocks,
        num_heads=s.heads,
        feed_forward_proj="gated-gelu",
    )
    return transformers.T5Model(config)


@pytest.mark.parametrize("family", FAMILIES)
def test_canonical_order_is_the_order_of_the_forward_pass(family: str) -> None:
    torch.set_num_threads(1)
    model, called = tiny_model(family).eval(), []

    def note(name: str) -> Any:
        return lambda *_: called.extend(our_names(family, name))

    for name, module in model.named_modules():
        if hasattr(module, "weight") and "lm_head" not in name and not isinstance(module, torch.nn.Embedding):
            module.register_forward_hook(note(name))
    ids = torch.arange(6).reshape(2, 3)
    with torch.no_grad():
        model(ids, **({"decoder_input_ids": ids} if family == "t5" else {}))
    assert called == [site.name for site in sites.sites(backbones.get(f"tiny-{family}"))]


@pytest.mark.parametrize("name", backbones.BACKBONES)
def test_sites_are_numbered_and_named_once(name: str) -> None:
    ref = backbones.get(name)
    found = sites.sites(ref, tokens=7)
    assert found[1:] == sites.sites(ref)
    assert [site.index for site in found] == list(range(-1, len(found) - 1))
    assert len({site.name for site in found}) == len(found)
    assert {site.kind for site in found} == set(sites.site_kinds(ref.family))
    assert all(-1 <= site.block <= max(ref.shape.blocks, ref.shape.decoder_blocks) for site in found)


def test_t5_counts_every_norm() -> None:
    norms = [site for site in sites.sites(backbones.get("t5-base")) if site.kind == "norm"]
    assert len([site for site in norms if site.stack == "encoder"]) == 12 * 2 + 1
    assert len([site for site in norms if site.stack == "decoder"]) == 12 * 3 + 1


def test_kinds_and_defaults() -> None:
    assert sites.linear_kinds("bert") == ("q", "k", "v", "o", "up", "down") == sites.linear_kinds("bloom")
    t5 = ("q", "k", "v", "o", "cross_q", "cross_k", "cross_v", "cross_o", "gate", "up", "down")
    assert sites.linear_kinds("t5") == t5
    assert ops.default_sites("bloom", "add") == ("q", "v", "o", "up", "down")
    assert ops.default_sites("t5", "add") == tuple(kind for kind in t5 if kind not in ("k", "cross_k"))
    assert ops.default_sites("t5", "concat") == t5
    assert ops.default_sites("t5", "plug") == ("o", "cross_o", "down")
    assert ops.default_sites("bert", "plug") == ("o", "down")


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ApetError, match=r"family 'gpt' is unknown; Choices: bert, bloom, t5"):
        sites.linear_kinds("gpt")
    with pytest.raises(ApetError, match=r"operation 'plugg' is unknown; did you mean plug\?"):
        ops.default_sites("bert", "plugg")


def test_operations_are_discovered_in_the_order_of_ties() -> None:
    assert tuple(ops.OPERATIONS) == tuple(sorted(ops.OPERATIONS))
    assert ops.OPERATIONS.keys() >= {"add", "concat", "plug"}


@pytest.mark.parametrize("name", ops.OPERATIONS)
def test_an_operation_fulfils_its_contract(name: str) -> None:
    rules = ops.get(name)
    assert rules.__doc__
    for ref in backbones.BACKBONES.values():
        assert sites.SOFT_TOKENS not in rules.defaults(ref.family)
        assert set(rules.defaults(ref.family)) <= set(sites.site_kinds(ref.family))
        assert all(rules.accepts(ref.family, kind) for kind in rules.defaults(ref.family))
        assert not rules.accepts(ref.family, "embeddings")
        for site in sites.sites(ref):
            if rules.accepts(ref.family, site.kind):
                assert rules.units(site) >= 1
                assert rules.unit_out(site) >= 1
                assert rules.unit_in(site) >= 0


def test_an_operation_has_a_file_for_its_tensors() -> None:
    folder = ROOT / "workers" / "modules" / "operations"
    assert {path.stem for path in folder.glob("*.py")} - {"__init__"} == set(ops.OPERATIONS)


@pytest.mark.parametrize(
    ("op", "family", "kind", "accepted"),
    [
        ("add", "bert", "norm", True),
        ("add", "bert", "soft_tokens", False),
        ("concat", "t5", "soft_tokens", True),
        ("plug", "bloom", "soft_tokens", False),
        ("add", "bert", "k", True),
        ("add", "bert", "gate", False),
        ("concat", "bert", "norm", False),
        ("concat", "t5", "cross_k", True),
        ("concat", "bloom", "cross_k", False),
        ("plug", "bert", "o", True),
        ("plug", "bert", "up", False),
        ("plug", "bert", "norm", False),
        ("plug", "t5", "cross_o", True),
        ("plug", "bloom", "cross_o", False),
    ],
)
def test_who_stands_where(op: str, family: str, kind: str, accepted: bool) -> None:
    assert ops.get(op).accepts(family, kind) is accepted


def test_block_tables_name_norms_after_linear_sites() -> None:
    for family, stacks in BLOCKS.items():
        for slots in stacks.values():
            for slot in slots:
                assert slot.removeprefix("norm_") in sites.linear_kinds(family)
