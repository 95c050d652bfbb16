"""Tiny backbones as folders of weights, which users have and edit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tiny_for_tests import frozen

from trials.pack import Pack
from trials.sources.locations import find_weights
from trials.trial import Trial
from workers.backbone import weights


def write_weights(name: str, place: Path) -> Path:
    """The tiny backbone as ``save_pretrained`` writes it, with its tokenizer."""
    model = frozen(name).model
    model.config.tie_word_embeddings = name != "tiny-t5"
    model.save_pretrained(place)
    for file in (weights.TOKENIZERS / name).iterdir():
        (place / file.name).write_bytes(file.read_bytes())
    return place


def on_weights(one: Trial, place: Path) -> Trial:
    """The trial on the weights that a folder holds now."""
    ref, _ = find_weights(one.backbone.name, place)
    return replace(one, backbone=replace(ref, head_scale=one.backbone.head_scale))


def from_place(pack: Pack, place: Path) -> Pack:
    """The pack with its weights there."""
    return replace(pack, sources=replace(pack.sources, weights=f"folder:{place}"))
