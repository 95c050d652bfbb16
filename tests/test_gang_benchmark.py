"""``benchmarks/gang.py``: the packs that it measures are those that the planner makes of the wish for shards."""

from __future__ import annotations

from pathlib import Path

import gang
import pytest

from trials.sources import locations


def test_packs_are_planned_for_shards_on_two_ranks(tmp_path: Path) -> None:
    packs = list(gang.made(tmp_path, "tiny-t5", 3, steps=2))
    assert [(p.setup.ranks, p.setup.zero_stage, p.setup.recompute, p.setup.device) for p in packs] == [
        (2, 3, False, "cpu")
    ] * 3
    assert len({p.members[0].trial.trial_id for p in packs}) == 3
    for pack in packs:
        locations.verify(pack.members[0].trial.task.data, pack.sources.data)


@pytest.mark.parametrize("name", ["t5-large", "bloom-1b1"])
def test_memory_of_a_large_backbone_is_expected_with_half_of_its_weights(tmp_path: Path, name: str) -> None:
    (pack,) = gang.made(tmp_path, name, 1, steps=1)
    assert pack.members[0].trial.backbone.weights.kind == "random"
    weights = 4 * {"t5-large": 783_150_080, "bloom-1b1": 1_065_314_304}[name]
    assert weights / 2 < pack.setup.memory < 2 * weights
