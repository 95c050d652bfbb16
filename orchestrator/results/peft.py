"""A trained module as the two files of an adapter that Hugging Face PEFT loads, written without PEFT.

PEFT puts an adapter on a model of the class that ``workers`` trains on: ``BertForMaskedLM`` (``BertModel`` where there
is no language-model head), ``BloomForCausalLM``, ``T5ForConditionalGeneration``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.results.card import model_class
from trials.errors import ApetError
from trials.modules.counts import unit_size
from trials.modules.positions import layout
from trials.modules.sites import Site
from trials.trial import BackboneRef, Trial
from workers.backbone.load import FUSED, layer_path
from workers.modules.file import ModuleFile

if TYPE_CHECKING:
    from torch import Tensor

Floats = NDArray[np.float32]
CONFIG, WEIGHTS, HEAD = "adapter_config.json", "adapter_model.safetensors", "head.safetensors"
_TASK_TYPES = {"bert": None, "bloom": "CAUSAL_LM", "t5": "SEQ_2_SEQ_LM"}  # PEFT has none for a masked language model
# LoRA sits on query and value of self-attention; T5's cross-attention has layers of the same names
_TARGETS = {
    "bert": r".*\.attention\.self\.(query|value)",
    "bloom": r".*\.self_attention\.query_key_value",
    "t5": r".*\.SelfAttention\.(q|v)",
}


@dataclass(frozen=True)
class Adapter:
    """An adapter as PEFT stores it.

    Args:
        config: of ``adapter_config.json``.
        tensors: of ``adapter_model.safetensors``.
        notes: what whoever uses it should know.
    """

    config: dict[str, Any]
    tensors: Mapping[str, Floats]
    notes: tuple[str, ...] = field(default=())


def files(module: ModuleFile, base: str | None) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """The files of an adapter, by name, and notes for whoever uses them.

    Args:
        module: the trained module.
        base: what PEFT calls the model it belongs to, ``orchestrator.results.card.base_of``.

    Raises:
        ApetError: a method that PEFT has no adapter for.
    """
    from safetensors.numpy import save

    trial = module.trial
    if trial.method.name not in _ADAPTERS:
        raise ApetError(
            f"trial {trial.trial_id}: format peft holds {' and '.join(_ADAPTERS)} only, and this is "
            f"{trial.method.name}; --format safetensors holds every method"
        )
    adapter = _ADAPTERS[trial.method.name](module)
    config = {**_common(module, base), **adapter.config}
    found = {
        CONFIG: (json.dumps(config, indent=2, sort_keys=True) + "\n").encode(),
        WEIGHTS: save({k: np.ascontiguousarray(v) for k, v in adapter.tensors.items()}, {"format": "pt"}),
    }
    head = _head(module)
    if head is None:
        return found, adapter.notes
    found[HEAD] = save({"head": np.ascontiguousarray(head.numpy())}, {"format": "pt"})
    note = f"{HEAD}: PEFT has no place for the {trial.head} head; scores are the mean of the text tokens' last"
    return found, (*adapter.notes, f"{note} hidden states times its transpose")


def _common(module: ModuleFile, base: str | None) -> dict[str, Any]:
    """Entries of every config: which model the adapter belongs to."""
    ref = module.trial.backbone
    mapping = {"base_model_class": model_class(module), "parent_library": "transformers.models.bert.modeling_bert"}
    return {
        "base_model_name_or_path": base,
        "revision": ref.weights.version if ref.weights.kind == "hub" else None,
        "task_type": _TASK_TYPES[ref.family],
        "auto_mapping": mapping if ref.family == "bert" else None,
        "inference_mode": True,
    }


def _lora(module: ModuleFile) -> Adapter:
    """Rank r on query and value; on BLOOM, which fuses them with the key, rank 2r on the fused layer."""
    ref, method = module.trial.backbone, module.trial.method
    assert method.rank is not None
    assert method.alpha is not None
    fused = ref.family == "bloom"
    pairs: dict[str, tuple[Floats, Floats]] = {}  # path → A [r, d_in], B [d_out, r]
    for site, rows in _rows(module):
        path = layer_path(ref, site)
        b, a = rows[:, : site.d_out].T, rows[:, site.d_out :]
        if fused:
            b = _into_fused(b, site, ref)
            if path in pairs:
                a, b = np.concatenate([pairs[path][0], a]), np.concatenate([pairs[path][1], b], axis=1)
        pairs[path] = (a, b)
    tensors = {}
    for path, (a, b) in pairs.items():
        tensors[f"base_model.model.{path}.lora_A.weight"] = a
        tensors[f"base_model.model.{path}.lora_B.weight"] = b
    branches = 2 if fused else 1
    alpha = branches * method.alpha  # PEFT's scale is alpha / r: both double
    config = {
        "peft_type": "LORA",
        "r": branches * method.rank,
        "lora_alpha": int(alpha) if alpha == int(alpha) else alpha,
        "target_modules": _TARGETS[ref.family],
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
    }
    if not fused:
        return Adapter(config, tensors)
    note = (
        f"bloom: query and value are parts of one fused layer, where PEFT can't hold two branches of rank {method.rank}"
        f"; the adapter has rank {branches * method.rank}, zero where a branch doesn't reach: the same outputs, a "
        "larger file, and training it on would fill the zeros"
    )
    return Adapter(config, tensors, (note,))


def _prompt(module: ModuleFile) -> Adapter:
    """Soft tokens before the text, in T5's encoder only."""
    ref = module.trial.backbone
    ((_, tokens),) = _rows(module)
    config = {
        "peft_type": "PROMPT_TUNING",
        "num_virtual_tokens": len(tokens),
        "token_dim": ref.shape.d_model,
        "num_transformer_submodules": 1,
        "num_attention_heads": ref.shape.heads,
        "num_layers": ref.shape.blocks,
        "prompt_tuning_init": "RANDOM",
    }
    if ref.family == "bert":  # without a task type PEFT leaves a prompt out; this one keeps the second text's types
        config["task_type"] = "SEQ_CLS"
    return Adapter(config, {"prompt_embeddings": tokens})


def _rows(module: ModuleFile) -> Iterator[tuple[Site, Floats]]:
    """The rows [output side | input side] at every site of a method with one operation and whole units."""
    theta = module.theta.numpy()
    (op,) = layout(module.trial).ops
    assert op.cut is None
    start = 0
    for group in op.groups:
        width = unit_size(op.op, group.site)
        n = len(group.units) * width
        yield group.site, theta[start : start + n].reshape(-1, width)
        start += n
    assert start == op.count, "rows of all sites make up θ"


def _into_fused(b: Floats, site: Site, ref: BackboneRef) -> Floats:
    """B [heads·d_kv, r] of query, key or value as B of the fused layer, whose output is [heads, 3, d_kv]."""
    s = ref.shape
    fused = np.zeros((s.heads, len(FUSED), s.d_kv, b.shape[1]), np.float32)
    fused[:, FUSED.index(site.slot)] = b.reshape(s.heads, s.d_kv, -1)
    return fused.reshape(-1, b.shape[1])


def _head(module: ModuleFile) -> Tensor | None:
    """[labels, d_model] of a trained or a frozen head; None where label words are read off the model itself."""
    from trials import tasks
    from workers.backbone.heads import frozen_head, label_words

    trial: Trial = module.trial
    if trial.head != "frozen":
        return module.head
    scale = trial.backbone.head_scale
    assert scale is not None, "a frozen head has a scale"
    n_labels = len(label_words(tasks.get(trial.task.name), trial.labels, trial.backbone.family))
    return frozen_head(n_labels, trial.backbone.shape.d_model, scale, trial.train_seed)


_ADAPTERS: Mapping[str, Callable[[ModuleFile], Adapter]] = {"lora": _lora, "prompt": _prompt}
