"""Positions and initial values are the same for ever, and cheap to draw."""

from __future__ import annotations

import hashlib
import time
import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from trials import backbones
from trials.modules import methods, positions, sequences
from trials.modules.positions import Layout
from trials.modules.sites import Site
from trials.trial import SPEC_VERSION, Method, Source, TaskRef, Training, Trial


def trial(name: str, method: Method, position_seed: int | None = 0, train_seed: int = 0) -> Trial:
    task = TaskRef("rte", Source("hub", "rte", "0"))
    return Trial(backbones.get(name), task, method, 1e-3, Training(steps=1), train_seed, position_seed)


def lay(
    name: str,
    count: int,
    shares: dict[str, int] | None = None,
    placement: str = "discrete",
    seed: int = 0,
    train_seed: int = 0,
    version: int = SPEC_VERSION,
) -> Layout:
    method = methods.apet(backbones.get(name).family, count, shares, placement=placement)
    return positions.layout(replace(trial(name, method, seed, train_seed), spec_version=version))


def digest(found: Layout) -> str:
    """Every position and initial value, to the bit."""
    text = hashlib.sha256()

    def feed(site: Site, *arrays: Any) -> None:
        text.update(site.name.encode())
        for array in arrays:
            text.update(np.ascontiguousarray(array).astype(np.asarray(array).dtype.newbyteorder("<")).tobytes())

    for op in found.ops:
        text.update(f"{op.op} {op.count} {op.scale}".encode())
        for group in op.groups:
            feed(group.site, group.units, group.init)
        if op.cut is not None:
            feed(op.cut.site, np.int64(op.cut.unit), op.cut.order, op.cut.row)
    return text.hexdigest()[:16]


FIXED = {
    ("tiny-bert", "discrete", 1, 0, 0): "4a6ca4b23d0e4f9b",
    ("tiny-bert", "adjacent", 1000, 1, 0): "8a2c2ac028775610",
    ("tiny-bloom", "discrete", 5000, 2, 1): "1cace5fd3b4a0ac3",
    ("tiny-bloom", "adjacent", 77, 3, 0): "b3aae9da2d26b9f1",
    ("tiny-t5", "discrete", 30_001, 4, 2): "280ff807c33674ce",
    ("tiny-t5", "adjacent", 30_001, 4, 2): "f0f1d6c0fb144a0a",
    ("bert-base", "discrete", 294_912, 0, 0): "6966d525a2788f4f",
    ("bloom-560m", "adjacent", 65_536, 1, 0): "3078f9f9a1b6a7d7",
    ("t5-small", "discrete", 229_376, 2, 0): "8de5e190956a530b",
}
OF_VERSION_1 = {  # where they differ: modules of then are read as they were trained
    ("tiny-bert", "adjacent", 1000, 1, 0): "7850a7b6c25d018b",
    ("tiny-bloom", "adjacent", 77, 3, 0): "e152a780074ffb6d",
    ("tiny-t5", "adjacent", 30_001, 4, 2): "3752ec87ccb0256a",
    ("bloom-560m", "adjacent", 65_536, 1, 0): "04757cdf39677ad8",
}
FIXED_METHODS = {
    ("tiny-t5", "lora"): "ef6780cbdf9ec231",
    ("tiny-bloom", "adapter"): "bf88a13375186752",
    ("tiny-bert", "bitfit"): "913eb8f09c666dff",
}


@pytest.mark.parametrize("case", FIXED)
def test_fixed_digests(case: tuple[str, str, int, int, int]) -> None:
    """Results in stores name positions by seed alone: whoever changes a digest here changes what they mean."""
    name, placement, count, seed, train_seed = case
    assert digest(lay(name, count, None, placement, seed, train_seed)) == FIXED[case]


@pytest.mark.parametrize("case", FIXED)
def test_layouts_of_spec_version_1_stay(case: tuple[str, str, int, int, int]) -> None:
    name, placement, count, seed, train_seed = case
    assert digest(lay(name, count, None, placement, seed, train_seed, version=1)) == (FIXED | OF_VERSION_1)[case]


@pytest.mark.parametrize("case", FIXED_METHODS)
def test_fixed_digests_of_methods(case: tuple[str, str]) -> None:
    assert digest(positions.layout(trial(case[0], methods.named(case[1]), None))) == FIXED_METHODS[case]


def test_twenty_million_scalars_over_t5_xxl_in_two_seconds() -> None:
    spent = []
    for _ in range(3):  # the best of three: others may use this machine
        sequences.discrete.cache_clear()
        start = time.perf_counter()
        found = lay("t5-xxl", 20_000_000)
        spent.append(time.perf_counter() - start)
        if spent[-1] < 2:
            break
    assert min(spent) < 2
    assert found.count == 20_000_000


def test_memory_is_in_proportion_to_the_count() -> None:
    lay("t5-xxl", 1)  # sites and sequences are kept between calls, and no part of a layout
    peaks = {}
    for count in (1_000, 2_000_000, 8_000_000):
        tracemalloc.start()
        lay("t5-xxl", count, {"concat": 1, "plug": 1})
        peaks[count] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[1_000] < 1 << 20
    assert peaks[2_000_000] < 8 * 2_000_000
    assert peaks[8_000_000] < 8 * 8_000_000


def test_the_sequence_kept_between_calls_cannot_be_changed() -> None:
    ref = backbones.get("tiny-bert")
    for make in (sequences.discrete, sequences.adjacent):
        kept = make("bert", ref.shape, "add", ("q",), 0)
        assert make("bert", ref.shape, "add", ("q",), 0) is kept
        with pytest.raises(ValueError, match="read-only"):
            kept[0] = 1
