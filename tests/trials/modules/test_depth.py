"""How deep a trial reaches, against the sites of its layout."""

from __future__ import annotations

import pytest

from tests.support.trials_for_tests import FAMILIES, make_trial
from trials.modules.depth import block_number, blocks_of, lowest_block
from trials.modules.positions import layout


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
