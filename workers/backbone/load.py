"""Loads a frozen backbone, and finds the layer that stands behind a site.

A location is where ``trials.sources.locations`` found the weights: ``package:NAME``, ``hub:ID@REVISION``,
``random:RECIPE`` or a folder (``folder:/path``, or the path alone). Whatever it is, the model comes back
in ``eval()`` mode, without dropout, with no parameter that requires a gradient.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from trials.backbones import loaded_parameters, parameters
from trials.errors import ApetError
from trials.families import BLOCKS
from trials.modules.sites import Site
from trials.trial import BackboneRef, Shape
from workers.backbone import tokenizer as tokenizers
from workers.backbone import weights
from workers.backbone.full import CHUNK, Fingerprint, fingerprint
from workers.backbone.sharded import Sharding, Shards, shape_of, sharded, whole

# Path of a slot's layer inside its block, per family
BERT = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "o": "attention.output.dense",
    "norm_o": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "norm_down": "output.LayerNorm",
}
BLOOM = {
    "norm_q": "input_layernorm",
    "q": "self_attention.query_key_value",
    "k": "self_attention.query_key_value",
    "v": "self_attention.query_key_value",
    "o": "self_attention.dense",
    "norm_up": "post_attention_layernorm",
    "up": "mlp.dense_h_to_4h",
    "down": "mlp.dense_4h_to_h",
}
FUSED = ("q", "k", "v")  # thirds of BLOOM's fused layer, in their order
T5_FEED_FORWARD = {"gate": "wi_0", "up": "wi_1", "down": "wo"}


@dataclass(frozen=True, eq=False)
class Backbone:
    """A frozen pretrained model and what a row says about it.

    Args:
        ref: the backbone as trials name it.
        model: the transformers model, on its device, frozen; in shards its parameters have no scalars between layers,
            and every pass is one of all ranks.
        tokenizer: its tokenizer.
        parameters: parameters of the published model, counted as ``trials.backbones.parameters`` counts.
        weights_digest: :func:`digest` of the model as loaded.
        weights_source: the location that was read.
        load_s: seconds that loading took.
        shards: what this rank of a gang holds of it; None: it is whole.
    """

    ref: BackboneRef
    model: nn.Module
    tokenizer: Any
    parameters: int
    weights_digest: str
    weights_source: str
    load_s: float
    shards: Shards | None = None

    @property
    def sharded(self) -> bool:
        """Whether each rank of a gang holds a part of the weights, so that all take part in each pass."""
        return self.shards is not None

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.model.parameters()).device

    @property
    def precision(self) -> str:
        """The resolved one of its weights, as a row names it."""
        return "bf16" if next(self.model.parameters()).dtype == torch.bfloat16 else "fp32"

    def fingerprint(self) -> Fingerprint:
        """That of ``workers.backbone.full``, of the whole model; of shards all ranks call it."""
        return fingerprint(self.model) if self.shards is None else self.shards.fingerprint()

    def close(self) -> None:
        """Let the memory of shards go at once; the backbone must not be used again."""
        if self.shards is not None:
            self.shards.close()

    def named(self, ref: BackboneRef, location: str) -> Backbone:
        """The same weights as another trial names them: another head, name or place."""
        assert (ref.family, ref.shape, ref.weights) == (self.ref.family, self.ref.shape, self.ref.weights)
        published = self.parameters + _unloaded(ref) - _unloaded(self.ref)
        return replace(self, ref=ref, weights_source=location, parameters=published)


def load(
    ref: BackboneRef,
    location: str,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    sharding: Sharding | None = None,
) -> Backbone:
    """Load a backbone, frozen, with its tokenizer.

    Args:
        ref: the backbone.
        location: where its weights were found.
        device: where it runs.
        dtype: of its weights.
        sharding: the ranks that share it, all of which call this; None: whole.

    Raises:
        ApetError: a package is missing, the hub can't be reached, a folder is no model of this shape, or
            T5 is asked for in float16, which overflows.
    """
    start = time.perf_counter()
    if ref.family == "t5" and dtype == torch.float16:
        raise ApetError(f"{ref.name} in float16: T5 overflows there; use bf16 or fp32")
    if sharding is None:
        shards, found = None, weights.read(ref, location, dtype, device)
        model = found.model.to(device=device, dtype=dtype)
    else:
        shards, found = sharded(lambda: weights.opened(ref, location, dtype), device, dtype, sharding)
        model = found.model
    _check(model, ref, location)
    tokenizers.check(found.tokenizer, model.config, ref, location)
    model.eval()
    model.requires_grad_(False)
    return Backbone(
        ref=ref,
        model=model,
        tokenizer=found.tokenizer,
        parameters=sum(shape_of(p).numel() for p in model.parameters()) + _unloaded(ref),
        weights_digest=digest(model),
        weights_source=location,
        load_s=time.perf_counter() - start,
        shards=shards,
    )


def digest(model: nn.Module) -> str:
    """20 hex digits of the sha256 over name, dtype, shape and bytes of every tensor of a model.

    Tied tensors count once, under their first name. Of a model in shards all ranks call it, and one tensor at a time is
    whole.
    """
    state = hashlib.sha256()
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        state.update(f"{name} {tensor.dtype} {tuple(shape_of(tensor))}\n".encode())
        with whole(tensor) as gathered:
            for chunk in torch.split(gathered.detach().reshape(-1), CHUNK):
                state.update(chunk.cpu().view(torch.uint8).numpy().data)
    return state.hexdigest()[:20]


def _unloaded(ref: BackboneRef) -> int:
    """Published parameters that aren't loaded (a pooler), less loaded ones that aren't (a language-model head)."""
    return parameters(ref) - loaded_parameters(ref)


@dataclass(frozen=True, eq=False)
class Stack:
    """A stack of blocks: ``owner`` runs those that its attribute ``name`` lists, then ``norm``, where there is one."""

    owner: nn.Module
    name: str
    norm: nn.Module | None

    @property
    def blocks(self) -> nn.ModuleList:
        """Input first."""
        found = getattr(self.owner, self.name)
        assert isinstance(found, nn.ModuleList)
        return found


def stacks(backbone: Backbone) -> dict[str, Stack]:
    """The stacks of a backbone in the order of the forward pass, by name: ``encoder``, ``decoder``, T5 has both."""
    return {name: _stack(backbone, name) for name in BLOCKS[backbone.ref.family]}


def _stack(backbone: Backbone, name: str) -> Stack:
    family, root = backbone.ref.family, _root(backbone)
    owner, _, attribute = _STACKS[family].format(stack=name).rpartition(".")
    end = _ENDS.get((family, "norm_final"))
    return Stack(root.get_submodule(owner), attribute, root.get_submodule(end.format(stack=name)) if end else None)


def blocks(backbone: Backbone, stack: str = "encoder") -> nn.ModuleList:
    """The transformer blocks of one stack, input first; BERT's only stack is ``encoder``, BLOOM's ``decoder``."""
    return _stack(backbone, stack).blocks


def find_module(backbone: Backbone, site: Site) -> tuple[nn.Module, torch.Tensor | None]:
    """The layer whose output a site corrects.

    Returns:
        the module and, where the site is a part of a fused layer, the int64 indices of its output columns
        (in the site's own order); None where it is the whole output.
    """
    module = backbone.model.get_submodule(layer_path(backbone.ref, site))
    if backbone.ref.family == "bloom" and site.slot in FUSED:
        return module, fused_columns(backbone.ref.shape, FUSED.index(site.slot)).to(backbone.device)
    return module, None


def layer_path(ref: BackboneRef, site: Site) -> str:
    """Dotted path, in the model that :func:`load` gives, of the layer whose output a site corrects."""
    family = ref.family
    root = _BELOW_HEAD if family == "bert" and ref.shape.lm_head else ""
    if site.slot in ("norm_embedding", "norm_final"):
        return root + _ENDS[family, site.slot].format(stack=site.stack)
    path = _t5_path(site) if family == "t5" else (BERT if family == "bert" else BLOOM)[site.slot]
    return f"{root}{_STACKS[family].format(stack=site.stack)}.{site.block}.{path}"


def fused_columns(shape: Shape, third: int) -> torch.Tensor:
    """Output columns of BLOOM's query (0), key (1) or value (2): the fused layer is [heads, 3, d_kv]."""
    columns = torch.arange(3 * shape.heads * shape.d_kv).view(shape.heads, 3, shape.d_kv)
    return columns[:, third].reshape(-1).clone()


_BELOW_HEAD = "bert."  # where a BERT with its language-model head keeps the encoder
_STACKS = {"bert": "encoder.layer", "bloom": "transformer.h", "t5": "{stack}.block"}
_ENDS = {
    ("bert", "norm_embedding"): "embeddings.LayerNorm",
    ("bloom", "norm_embedding"): "transformer.word_embeddings_layernorm",
    ("bloom", "norm_final"): "transformer.ln_f",
    ("t5", "norm_final"): "{stack}.final_layer_norm",
}


def _root(backbone: Backbone) -> nn.Module:
    """The model; of BERT the part below its language-model head."""
    bert = getattr(backbone.model, "bert", backbone.model)
    assert isinstance(bert, nn.Module)
    return bert


def _t5_path(site: Site) -> str:
    """Path inside a T5 block: sublayers are self-attention, in the decoder cross-attention, feed-forward."""
    slot = site.slot.removeprefix("norm_")
    cross = slot.startswith("cross_")
    plain = slot.removeprefix("cross_")
    if plain in T5_FEED_FORWARD:
        layer, part = (2 if site.stack == "decoder" else 1), f"DenseReluDense.{T5_FEED_FORWARD[plain]}"
    else:
        assert plain in ("q", "k", "v", "o"), site.name
        layer, part = int(cross), f"{'EncDecAttention' if cross else 'SelfAttention'}.{plain}"
    return f"layer.{layer}.{'layer_norm' if site.kind == 'norm' else part}"


def _check(model: nn.Module, ref: BackboneRef, location: str) -> None:
    """What was read must be what the trial names; a wrong folder must not train under a wrong name."""
    config: Any = model.config
    have = {"d_model": config.hidden_size, "blocks": config.num_hidden_layers, "heads": config.num_attention_heads}
    want = {"d_model": ref.shape.d_model, "blocks": ref.shape.blocks, "heads": ref.shape.heads}
    if have != want:
        raise ApetError(
            f"{location}: its shape is {have}, but {ref.name} has {want}; "
            "point model_dir at the right model, or give the backbone a name of its own"
        )
