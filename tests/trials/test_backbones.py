"""Built-in backbones: shapes and totals against transformers' own models, built on the meta device."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
import transformers

from trials import backbones
from trials.errors import ApetError
from trials.modules.sites import sites
from trials.trial import BackboneRef

NAMES = (
    *("quickstart-l3", "quickstart-l6", "tiny-bert", "tiny-bloom", "tiny-t5", "bert-small", "bert-base", "bert-large"),
    *(
        "bloom-560m",
        "bloom-1b1",
        "bloom-1b7",
        "bloom-3b",
        "bloom-7b1",
        "t5-small",
        "t5-base",
        "t5-large",
        "t5-xl",
        "t5-xxl",
    ),
)
# What others publish. Quickstart: sums over the tensors in the packages. BERT: the encoder with its pooler, as the
# presets bert_{small,base,large}_en_uncased of github.com/keras-team/keras-hub say. BLOOM: the model cards of 1b1 and
# 3b ("1,065,314,304 parameters"), counts printed for 560m and 7b1; 1b7's card could not be read again, so that only
# transformers' own model speaks for it. T5 v1.1: KerasHub's t5_1.1_{base,xl,xxl}; printed counts of small and large,
# and of flan-t5-{small,base,xl}, which have the same shapes.
PUBLISHED = {
    "quickstart-l3": 17_241_984,
    "quickstart-l6": 22_713_216,
    "bert-small": 28_763_648,
    "bert-base": 109_482_240,
    "bert-large": 335_141_888,
    "bloom-560m": 559_214_592,
    "bloom-1b1": 1_065_314_304,
    "bloom-1b7": 1_722_408_960,
    "bloom-3b": 3_002_557_440,
    "bloom-7b1": 7_069_016_064,
    "t5-small": 76_961_152,
    "t5-base": 247_577_856,
    "t5-large": 783_150_080,
    "t5-xl": 2_849_757_184,
    "t5-xxl": 11_135_332_352,
}


@cache
def on_meta(name: str) -> Any:
    """The backbone as transformers builds it from its shape, without storage; T5 without its lm_head."""
    ref = backbones.get(name)
    s = ref.shape
    with torch.device("meta"):
        if ref.family == "bert":
            config = transformers.BertConfig(
                vocab_size=s.vocab,
                hidden_size=s.d_model,
                num_hidden_layers=s.blocks,
                num_attention_heads=s.heads,
                intermediate_size=s.d_ff,
                max_position_embeddings=s.positions,
            )
            return transformers.BertModel(config, add_pooling_layer=True)
        if ref.family == "bloom":
            return transformers.BloomForCausalLM(
                transformers.BloomConfig(vocab_size=s.vocab, hidden_size=s.d_model, n_layer=s.blocks, n_head=s.heads)
            )
        config = transformers.T5Config(
            vocab_size=s.vocab,
            d_model=s.d_model,
            d_kv=s.d_kv,
            d_ff=s.d_ff,
            num_layers=s.blocks,
            num_decoder_layers=s.decoder_blocks,
            num_heads=s.heads,
            feed_forward_proj="gated-gelu",
        )
        return transformers.T5Model(config)


def size(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_every_name_is_there() -> None:
    assert sorted(backbones.BACKBONES) == sorted(NAMES)
    assert all(backbones.get(name).name == name for name in NAMES)


@pytest.mark.parametrize("name", PUBLISHED)
def test_total_is_the_published_one(name: str) -> None:
    assert backbones.parameters(backbones.get(name)) == PUBLISHED[name]


@pytest.mark.parametrize("name", NAMES)
def test_totals_are_those_of_transformers(name: str) -> None:
    ref, model = backbones.get(name), on_meta(name)
    if ref.family == "t5":
        assert backbones.parameters(ref) == size(model) + ref.shape.vocab * ref.shape.d_model  # its own lm_head
        assert backbones.loaded_parameters(ref) == backbones.parameters(ref)
    elif ref.family == "bloom":
        assert backbones.parameters(ref) == backbones.loaded_parameters(ref) == size(model)
    else:
        pooler = size(model.pooler)
        has_pooler = name not in ("quickstart-l3", "tiny-bert")
        assert backbones.parameters(ref) == size(model) - (0 if has_pooler else pooler)
        if ref.shape.lm_head:
            with torch.device("meta"):
                loaded = transformers.BertForMaskedLM(model.config)
            assert backbones.loaded_parameters(ref) == size(loaded)
        else:
            assert backbones.loaded_parameters(ref) == size(model) - pooler


def layer_of(ref: BackboneRef, model: Any, stack: str, block: int, slot: str) -> torch.nn.Module:
    """The layer of transformers that a site of ours stands for; BLOOM's query, key and value share one."""
    if ref.family == "bert":
        layer = model.encoder.layer[block]
        own = layer.attention.self
        return {
            **{"q": own.query, "k": own.key, "v": own.value, "o": layer.attention.output.dense},
            **{"norm_o": layer.attention.output.LayerNorm, "up": layer.intermediate.dense},
            **{"down": layer.output.dense, "norm_down": layer.output.LayerNorm},
        }[slot]
    if ref.family == "bloom":
        layer = model.transformer.h[block]
        own = layer.self_attention
        return {
            **{"norm_q": layer.input_layernorm, "q": own.query_key_value, "k": own.query_key_value},
            **{"v": own.query_key_value, "o": own.dense, "norm_up": layer.post_attention_layernorm},
            **{"up": layer.mlp.dense_h_to_4h, "down": layer.mlp.dense_4h_to_h},
        }[slot]
    layers = getattr(model, stack).block[block].layer
    own, last = layers[0].SelfAttention, layers[-1]
    cross = layers[1] if stack == "decoder" else None
    return {
        **{"norm_q": layers[0].layer_norm, "q": own.q, "k": own.k, "v": own.v, "o": own.o},
        **({} if cross is None else {f"cross_{x}": getattr(cross.EncDecAttention, x) for x in "qkvo"}),
        **({} if cross is None else {"norm_cross_q": cross.layer_norm}),
        **{"norm_gate": last.layer_norm, "gate": last.DenseReluDense.wi_0, "up": last.DenseReluDense.wi_1},
        "down": last.DenseReluDense.wo,
    }[slot]


@pytest.mark.parametrize("name", NAMES)
def test_sites_have_the_widths_of_the_layers(name: str) -> None:
    ref, model = backbones.get(name), on_meta(name)
    for site in sites(ref):
        if site.slot in ("norm_embedding", "norm_final"):
            continue
        layer = layer_of(ref, model, site.stack, site.block, site.slot)
        if site.kind == "norm":
            assert (site.d_in, site.d_out) == (*layer.weight.shape, *layer.weight.shape), site.name
            continue
        d_out, d_in = layer.weight.shape
        if ref.family == "bloom" and site.kind in ("q", "k", "v"):
            d_out //= 3
        assert (site.d_in, site.d_out) == (d_in, d_out), site.name


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("t5") and name != "tiny-t5"])
def test_bitfit_is_every_bias_of_the_model(name: str) -> None:
    """On BERT and BLOOM, where there are biases: the sites' outputs are exactly them, the pooler's aside."""
    biases = sum(
        p.numel() for key, p in on_meta(name).named_parameters() if key.endswith("bias") and "pooler" not in key
    )
    assert sum(site.d_out for site in sites(backbones.get(name))) == biases


def test_frozen_head_scale_stands_where_there_is_no_language_model_head() -> None:
    for ref in backbones.BACKBONES.values():
        assert (ref.head_scale is None) == ref.shape.lm_head, ref.name


def test_sources() -> None:
    assert backbones.get("quickstart-l6").weights.version == "0.1.0"
    assert backbones.get("t5-xl").weights.name == "google/t5-v1_1-xl"
    assert backbones.get("bloom-1b7").weights.name == "bigscience/bloom-1b7"
    for ref in backbones.BACKBONES.values():
        assert ref.weights.kind in ("hub", "package", "random"), ref.name
        if ref.weights.kind == "hub":
            assert ref.weights.version == "main" or len(ref.weights.version) == 40, ref.name


def test_unknown_name_has_the_nearest_match() -> None:
    with pytest.raises(
        ApetError, match=r"'bert-smal' is not built in; did you mean bert-small\? Choices: .*t5-xxl.*model_dir"
    ):
        backbones.get("bert-smal")
