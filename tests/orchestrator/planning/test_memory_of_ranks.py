"""Memory of each rank of a gang, against totals by hand and what the shards themselves say."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from orchestrator.planning import memory as planned
from orchestrator.planning.memory import memory
from trials.backbones import get, loaded_parameters
from trials.modules.methods import named
from trials.trial import Method, Source, TaskRef, Training, Trial
from workers.backbone import sharded, weights
from workers.engines import zero

GIB = 2**30


def trial(backbone: str, method: Method, **training: Any) -> Trial:
    task = TaskRef("rte", Source("hub", "nyu-mll/glue", "main"))
    return Trial(get(backbone), task, method, 1e-3, Training(**{"steps": 10, **training}))


@pytest.mark.parametrize(("backbone", "gib"), [("t5-xxl", 20.7), ("bloom-7b1", 13.2)])
def test_ranks_share_frozen_weights_at_stage_3_and_modules_never(backbone: str, gib: float) -> None:
    """By hand: half of the weights, one block and one table that are gathered, and all of what trains."""
    one = trial(backbone, named("lora"), batch_size=32, max_input_length=256)
    loaded, s = loaded_parameters(one.backbone), get(backbone).shape
    held = memory(one, loaded, 6_291_456, 2, 2, rows=1)
    assert held.weights / GIB == pytest.approx(gib, abs=0.1)
    theta = 2 * 6_291_456
    assert held.state == theta * (4 + 4 + 8 + 4 + 2)
    for stage in (0, 1, 2):
        assert held.on_card(4, stage) == held.on_card() == held.weights + held.state + held.saved
    blocks = {"t5-xxl": 8 * 4096**2 + 3 * 4096 * 10240, "bloom-7b1": 4 * 4096**2 + 2 * 4096 * 16384}
    gathered = 2 * (blocks[backbone] + s.vocab * 4096)
    assert held.on_card(2, 3) == held.weights // 2 + gathered + held.state + held.saved
    table = 2 * s.vocab * 4096
    assert held.on_card(8, 3, offload=True) == gathered + table // 8 + held.state + held.saved
    assert held.on_card(1, 3) == held.on_card(), "alone, its part is all"
    assert (held.beside(4, 0), held.beside(4, 3), held.beside(4, 3, offload=True)) == (0, 0, held.weights // 4)


@pytest.mark.parametrize("backbone", ["bert-base", "bloom-560m", "bloom-7b1", "t5-base", "t5-xxl"])
def test_what_is_gathered_is_what_the_shards_gather_at_most(backbone: str) -> None:
    """One block ahead and the largest tensor, of the model itself; norms and biases are whole anyway."""
    one = trial(backbone, named("lora"))
    with torch.device("meta"):
        model = weights._empty(one.backbone)
    live = sharded._largest_block(model) + max(p.numel() for p in model.parameters())
    held = memory(one, loaded_parameters(one.backbone), 1, 1, 2)
    assert held.gathered == pytest.approx(2 * live, rel=1e-3)
    loaded = loaded_parameters(one.backbone)
    full = memory(trial(backbone, named("full")), loaded, loaded, 1, 2)
    most = min(loaded, live + zero.LIVE)
    assert full.gathered == pytest.approx(4 * most, rel=1e-3), "in float32, with what is fetched ahead"
    assert zero.BUCKET == planned.BUCKET, "full's"


def test_full_shares_moments_then_gradients_then_weights() -> None:
    """By hand, bytes a parameter on each of 4 cards: what the stage shares is divided, what isn't is whole."""
    one = trial("t5-xl", named("full"), batch_size=32)
    n = 4 * 10**9
    held = memory(one, n, n, 1, 2)
    passing, buckets = held.casts + held.saved, 2 * 5 * 10**7 * 4
    assert held.on_card() == 20 * n + max(passing, 4 * n)
    again, lasting = 4 / 4, {1: 4 + 4 + 8 / 4, 2: 4 + (4 + 8) / 4}
    for stage, each in lasting.items():
        assert held.on_card(4, stage) == (each + again) * n + buckets + passing
    at_3 = (4 + 4 + 8) / 4 * n
    assert held.on_card(4, 3) == at_3 + held.gathered + buckets + passing
    assert (held.beside(4, 2), held.beside(4, 3)) == (2 * n + 4 * n / 4, (2 + 4) * n / 4)
    assert held.beside(4, 3, offload=True) == at_3 + 4 * n / 4 + (2 + 4) * n / 4
    assert held.on_card(4, 3, offload=True) == held.gathered + held.largest / 4 + buckets + passing


def test_ranks_on_a_cpu_hold_what_cards_do_and_the_copies_too() -> None:
    lora, full = (trial("bert-base", named(name), batch_size=32) for name in ("lora", "full"))
    frozen, trained = memory(lora, 10**8, 10**5, 4, 4, rows=16), memory(full, 10**8, 10**8, 1, 4, rows=16)
    assert frozen.in_process(2, 0) == frozen.in_process() == frozen.on_card()
    assert frozen.in_process(2, 3) == frozen.on_card(2, 3) + frozen.largest, "gloo's copy"
    assert trained.in_process() - trained.saved == 24 * 10**8
    assert trained.in_process(2, 3) == trained.on_card(2, 3) + trained.largest + (4 + 4) * 10**8 / 2
