"""How deep a trial reaches, against the sites of its layout."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.support.trials_for_tests import FAMILIES, make_trial
from trials import backbones
from trials.errors import ApetError
from trials.modules.depth import block_number, blocks_of, lowest_block
from trials.modules.positions import layout
from trials.sweep.sweep import Sweep


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", ["full", "prompt", "bitfit", "lora", "adapter"])
def test_methods_of_fixed_places_reach_the_first_block(family: str, method: str) -> None:
    assert lowest_block(make_trial(family, method, **({"tokens": 3} if method == "prompt" else {}))) == 0


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("placement", ["discrete", "adjacent"])
@pytest.mark.parametrize("seed", range(6))
def test_the_lowest_block_is_that_of_the_first_touched_site(family: str, placement: str, seed: int) -> None:
    trial = make_trial(family, placement=placement, count=5, trial={"position_seed": seed})
    first = layout(trial).touched()[0]
    assert lowest_block(trial) == block_number(first, trial.backbone.shape) < blocks_of(trial.backbone.shape)
    assert first.name.startswith(first.stack)


def test_a_decoder_of_t5_comes_after_its_encoder() -> None:
    shape = make_trial("tiny-t5").backbone.shape
    found = {
        lowest_block(make_trial("tiny-t5", placement="adjacent", count=1, trial={"position_seed": s}))
        for s in range(40)
    }
    assert found == set(range(blocks_of(shape)))


@pytest.mark.parametrize("placement", ["discrete", "adjacent"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "sizes",
    [
        {"operations": {"add": 1}, "sites": {"add": ("v", "down", "norm")}},
        {"operations": {"plug": 1}, "sites": {"plug": ("o",)}},
        {"operations": {"concat": 1}, "sites": {"concat": ("soft_tokens", "q", "up")}, "tokens": 5},
        {"operations": {"add": 2, "concat": 1, "plug": 3}},
    ],
)
@pytest.mark.parametrize("name", ["bert-small", "t5-small"])
def test_counts_of_all_sizes_against_the_layout(name: str, placement: str, seed: int, sizes: dict[str, Any]) -> None:
    ref, seen = backbones.get(name), set()
    for count in (1, 3, 17, 600, 1025, 5_000, 200_000):
        method = {"placement": placement, "count": count, **sizes}
        trial = make_trial(f"tiny-{ref.family}", trial={"position_seed": seed, "backbone": ref}, **method)
        try:
            touched = layout(trial, values=False).touched()
        except ApetError:  # above the capacity
            continue
        seen.add(count)
        assert lowest_block(trial) == min(block_number(site, ref.shape) for site in touched)
    assert len(seen) >= 4


def test_a_decoder_alone() -> None:
    sites = {"operations": {"add": 1}, "sites": {"add": ("cross_q", "cross_o")}, "count": 200}
    trial = make_trial("tiny-t5", **sites)
    assert lowest_block(trial) == trial.backbone.shape.blocks


def test_a_sweep_of_the_largest_backbones_takes_a_moment() -> None:
    """1 836 trials up to T5-XXL, whose layouts take a minute and a half; a driver does it before its first pack."""
    every = Sweep.load("count").trials()
    start = time.process_time()
    deep = [lowest_block(trial) for trial in every]
    assert time.process_time() - start < 2.0
    assert len(set(deep)) > 3
