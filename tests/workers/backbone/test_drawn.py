"""Random weights drawn in place are the same bits however they are drawn; the tiny backbones' are what they were."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from math import sqrt

import numpy as np
import pytest
import torch
from device_for_tests import WITHOUT_CARD
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_for_tests import FAMILIES, frozen

from trials import backbones
from trials.errors import ApetError
from trials.sources.locations import verify
from workers.backbone import drawn
from workers.backbone.drawn import Drawn
from workers.backbone.load import digest, load
from workers.backbone.source import each

DIGESTS = {  # of the tiny backbones in float32, before weights were drawn in place
    "tiny-bert": "c3a206bb6ffd66252207",
    "tiny-bloom": "d18bcdca319359741593",
    "tiny-t5": "0205ad90034960197084",
}


@pytest.mark.parametrize("name", FAMILIES)
def test_tiny_backbones_are_what_their_ids_stand_for(name: str) -> None:
    loaded = load(backbones.get(name), f"random:{name}")
    assert loaded.weights_digest == digest(frozen(name).model) == DIGESTS[name]


def split_mix(seed: int, n: int) -> list[int]:
    """The published algorithm, one word after the other."""
    found, state = [], seed
    for _ in range(n):
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        z = state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        found.append(z ^ (z >> 31))
    return found


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**64 - 1), first=st.integers(0, 40), n=st.integers(1, 40))
def test_words_are_split_mix_s(seed: int, first: int, n: int) -> None:
    expected = np.array(split_mix(seed, first + n)[first:], dtype=np.uint64)
    found = drawn.words(n, seed, first, torch.device("cpu")).numpy().view(np.uint64)
    assert found.tolist() == expected.tolist()


def test_words_of_the_reference_implementation() -> None:
    """Vigna's splitmix64.c from the seed 1234567, as published with it in many libraries."""
    found = drawn.words(5, 1234567, 0, torch.device("cpu")).numpy().view(np.uint64)
    assert found.tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_scalars_are_the_halves_of_words_scaled() -> None:
    out = torch.empty(9)
    drawn.uniform(out, 77, 0, 0.5)
    halves = np.array(split_mix(77, 5), dtype="<u8").view("<i4")[:9] >> 8
    expected = halves.astype(np.float32) * np.float32(0.5 * sqrt(3) / 2**23)
    assert out.tolist() == expected.tolist()


@settings(max_examples=20, deadline=None)
@given(start=st.integers(0, 300), n=st.integers(0, 300), batch=st.integers(1, 64))
def test_any_part_is_a_part_of_the_whole(start: int, n: int, batch: int) -> None:
    whole, part = torch.empty(600), torch.empty(n, dtype=torch.bfloat16)
    drawn.uniform(whole, 5, 0, 1.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawn, "BATCH", batch)
        drawn.uniform(part, 5, start, 1.0)
    assert torch.equal(part, whole[start : start + n].to(torch.bfloat16))


def test_numbers_are_spread_as_they_should_be() -> None:
    ref = backbones.with_random_weights(backbones.get("t5-small"))
    out = torch.empty(2**20)
    source = Drawn(ref)
    source.fill(out, "lm_head.weight")
    assert out.mean().abs() < 4 / sqrt(512 * len(out))
    assert float(out.std()) == pytest.approx(1 / sqrt(512), rel=0.005)
    assert float(out.abs().max()) == pytest.approx(sqrt(3 / 512), rel=1e-4)
    other = torch.empty(2**20)
    source.fill(other, "shared.weight")
    assert abs(float(torch.corrcoef(torch.stack([out[: 2**19], other[: 2**19]]))[0, 1])) < 0.01


@pytest.mark.parametrize("name", ["bert-small", "t5-small", "bloom-560m"])
def test_a_study_s_backbone_comes_in_either_precision(name: str) -> None:
    """Shrunk to two blocks; bf16 is float32 rounded, and the model works: its answers to two inputs differ."""
    known = backbones.get(name)
    shape = replace(known.shape, blocks=2, decoder_blocks=min(known.shape.decoder_blocks, 2), vocab=3000)
    ref = backbones.with_random_weights(replace(known, shape=shape))
    verify(ref.weights, f"random:{name}")
    assert backbones.with_random_weights(known).weights.version != "1"
    full = load(ref, f"random:{name}")
    half = load(ref, f"random:{name}", dtype=torch.bfloat16)
    for (key, value), (_, rounded) in zip(full.model.named_parameters(), half.model.named_parameters(), strict=True):
        assert torch.equal(value.to(torch.bfloat16), rounded), key
    rows = full.tokenizer(["a good film", "a dull story of a town"], return_tensors="pt", padding=True)
    inputs = {key: rows[key] for key in ("input_ids", "attention_mask")}
    inputs |= {"decoder_input_ids": torch.tensor([[0], [0]])} if ref.family == "t5" else {}
    with torch.no_grad():
        logits = full.model(**inputs).logits[:, 0 if ref.family == "t5" else 2]
    assert torch.isfinite(logits).all()
    assert (logits[0] - logits[1]).abs().mean() > 0.01 * logits.abs().mean()


def test_recipes_and_tensors_have_streams_of_their_own() -> None:
    one = backbones.with_random_weights(backbones.get("t5-small"))
    two = replace(one, weights=replace(one.weights, name="another"))
    seen = set()
    for ref in (one, two):
        for name in ("lm_head.weight", "encoder.block.0.layer.0.SelfAttention.k.weight"):
            out = torch.empty(1000)
            Drawn(ref).fill(out, name)
            seen.add(hashlib.sha256((out / out.abs().max()).numpy().tobytes()).hexdigest())
    assert len(seen) == 4


def test_bits_of_a_drawn_model_never_change() -> None:
    """Ids stand for them."""
    state = hashlib.sha256()
    ref = backbones.with_random_weights(backbones.get("bert-small"))
    for name, value in each(Drawn(replace(ref, shape=replace(ref.shape, blocks=1, vocab=100))), torch.float32):
        state.update(name.encode() + value.numpy().tobytes())
    assert state.hexdigest()[:20] == "0f49fd39ea3bde3d0bba"


def test_an_unknown_recipe_is_refused() -> None:
    ref = backbones.get("tiny-t5")
    with pytest.raises(ApetError, match="random:tiny-t55: no such recipe; did you mean tiny-t5"):
        load(ref, "random:tiny-t55")


@pytest.mark.gpu
@WITHOUT_CARD
def test_a_gpu_draws_the_same_bits() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        here, there = torch.empty(3 * 2**20 + 5, dtype=dtype), torch.empty(3 * 2**20 + 5, dtype=dtype, device="cuda")
        for out in (here, there):
            drawn.uniform(out, 7, 3, 0.01)
        assert torch.equal(here, there.cpu())
