"""What ranks exchange, against bytes counted by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.planning import traffic
from orchestrator.planning.devices import CARDS, machine_with
from orchestrator.planning.fit import fit
from orchestrator.planning.speeds import PCIE, SPEEDS, UNKNOWN, speed
from orchestrator.planning.times import work
from trials.backbones import get, loaded_parameters
from trials.modules.methods import named
from trials.setup import Setup
from trials.sweep.resources import Resources
from trials.trial import Source, TaskRef, Training, Trial

LINK = 2e11
SHARDS = Setup("cuda", gpus=4, ranks=4, zero_stage=3)


def trial(backbone: str = "t5-xxl", method: str = "lora", **training: Any) -> Trial:
    task = TaskRef("rte", Source("hub", "nyu-mll/glue", "main"), validation_rows=64, test_rows=128)
    return Trial(get(backbone), task, named(method), 1e-3, Training(**{"steps": 100, "batch_size": 32, **training}))


def test_whole_weights_on_one_card_exchange_nothing() -> None:
    assert traffic.seconds(trial(), Setup("cuda", gpus=1), LINK) == 0


def test_stage_3_gathers_the_weights_forward_and_back_and_for_every_token_of_an_answer() -> None:
    """By hand: three quarters of 22 GB of bf16, twice a step; 64 + 128 rows in batches of 32, two tokens each."""
    gather = 2 * loaded_parameters(get("t5-xxl")) * 0.75 / LINK
    gradients = 100 * 2 * 4 * 6_291_456 * 0.75 / LINK
    expected = (100 * 2 + (64 + 128) / 32 * 2) * gather + gradients
    assert traffic.seconds(trial(), SHARDS, LINK) == pytest.approx(expected)


def test_trials_of_a_pack_share_gathers_and_passes_of_fewer_rows_make_more_of_them() -> None:
    one = traffic.seconds(trial(), SHARDS, LINK)
    own = 100 * 2 * 4 * 6_291_456 * 0.75 / LINK
    assert traffic.seconds(trial(), replace(SHARDS, pack_size=8), LINK) == pytest.approx((one - own) / 8 + own)
    halved = traffic.seconds(trial(), replace(SHARDS, micro_batch=4), LINK)
    assert halved - own == pytest.approx(2 * (one - own)), "eight rows of a rank, four at a time"


def test_offload_goes_over_pcie_on_one_card_too() -> None:
    one = traffic.seconds(trial(), Setup("cuda", gpus=1, zero_stage=3, offload=True), LINK)
    gather = 2 * loaded_parameters(get("t5-xxl")) / PCIE
    assert one == pytest.approx((100 * 2 + 192 / 32 * 2) * gather)


def test_full_adds_up_gradients_and_hands_round_weights() -> None:
    n = loaded_parameters(get("t5-xl"))
    at_2 = traffic.seconds(trial("t5-xl", "full"), replace(SHARDS, zero_stage=2), LINK)
    assert at_2 == pytest.approx(100 * 2 * 4 * n * 0.75 / LINK)
    at_3 = traffic.seconds(trial("t5-xl", "full"), SHARDS, LINK)
    assert at_3 == pytest.approx((100 * 3 + 192 / 32 * 2) * 4 * n * 0.75 / LINK)


def test_shards_cost_more_gpu_hours_than_whole_weights_and_slow_links_more_than_fast_ones() -> None:
    """The same trial on one card of 80 GiB, and on four that share the weights."""
    one, whole = trial(max_input_length=256), Setup("cuda", gpus=1)
    hours = {
        (card, setup.gpus): setup.gpus * work([one], setup, {}, card=card)[0]
        for card in ("a100-80", "a10g-24", "")
        for setup in (whole, SHARDS)
    }
    assert all(hours[card, 4] > hours[card, 1] for card, _ in hours)
    ratio = {card: hours[card, 4] / hours[card, 1] for card, _ in hours}
    assert ratio["a10g-24"] > 2 * ratio["a100-80"]
    _, basis = work([one], SHARDS, {}, card="a100-80")
    assert basis == "arithmetic, a GPU taken at 1.0e+14 operations/s, weights gathered at 2.0e+11 bytes/s"


def test_the_card_that_is_planned_for_gives_the_speed() -> None:
    assert SPEEDS.keys() == CARDS.keys()
    assert speed("") == speed("anything") == UNKNOWN
    found = fit([trial("bert-small")], [machine_with("h100-80", 1)], Resources())
    assert found.card == "h100-80"
    recomputed = replace(found.setup, recompute=True)
    seconds = [work([trial()], setup, {}, card="a10g-24")[0] for setup in (found.setup, recomputed)]
    assert seconds[1] == pytest.approx(1.5 * seconds[0], rel=0.02), "forward, forward, back; scoring is little"
