"""Soft tokens: a placement of ``concat`` in front of all sites, exact and nested like any other."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trials import backbones, streams
from trials.errors import ApetError
from trials.modules import counts, methods, positions, sequences
from trials.modules.positions import Layout, OpLayout
from trials.modules.sites import sites
from trials.sweep.sweep import Sweep
from trials.trial import Method, Source, TaskRef, Training, Trial

TINY = ("tiny-bert", "tiny-bloom", "tiny-t5")
D = 64


def trial(name: str, method: Method, position_seed: int | None = 0, train_seed: int = 0) -> Trial:
    task = TaskRef("rte", Source("hub", "rte", "0"))
    return Trial(backbones.get(name), task, method, 1e-3, Training(steps=1), train_seed, position_seed)


def lay(
    name: str,
    count: int,
    kinds: tuple[str, ...] = ("soft_tokens",),
    placement: str = "discrete",
    seeds: tuple[int, int] = (0, 0),
    tokens: int | None = None,
) -> OpLayout:
    method = methods.apet(backbones.get(name).family, count, {"concat": 1}, {"concat": kinds}, placement, tokens)
    return positions.layout(trial(name, method, seeds[1], seeds[0])).ops[0]


Start = int | tuple[float, ...]


def scalars(op: OpLayout) -> dict[tuple[int, int, int], Start]:
    """(site, unit, coordinate) of every scalar, and what its unit starts as: a row of the table, or its input side."""
    found: dict[tuple[int, int, int], Start] = {}
    for group in op.groups:
        n = group.site.d_in + group.site.d_out
        starts: list[Start] = [tuple(row) for row in group.init.tolist()]
        if group.token_ids is not None:
            assert group.init.shape == (len(group.units), 0)
            starts = group.token_ids.tolist()
        for unit, start in zip(group.units.tolist(), starts, strict=True):
            found |= {(group.site.index, unit, i): start for i in range(n)}
    if (cut := op.cut) is not None:
        start = tuple(cut.row.tolist()[cut.site.d_out :]) if cut.token_id is None else cut.token_id
        found |= {(cut.site.index, cut.unit, i): start for i in cut.order.tolist()}
    return found


@pytest.mark.parametrize("name", TINY)
def test_a_prompt_is_the_first_rows_that_its_stream_draws(name: str) -> None:
    ref = backbones.get(name)
    found = positions.layout(trial(name, methods.named("prompt", tokens=7), None, train_seed=5))
    (op,) = found.ops
    (group,) = op.groups
    assert (op.op, op.count, op.cut, found.given) == ("concat", 7 * D, None, {"concat": 7 * D})
    stack = "decoder" if name == "tiny-bloom" else "encoder"
    assert (group.site.name, group.site.index) == (f"{stack}.input.soft_tokens", -1)
    assert group.units.tolist() == list(range(7))
    assert group.token_ids is not None
    words = streams.words(7, "initial", 5, 0, "concat")
    assert group.token_ids.tolist() == [int(word) % ref.shape.vocab for word in words]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(TINY),
    st.sampled_from([("soft_tokens",), ("soft_tokens", "q"), ("soft_tokens", "q", "down")]),
    st.sampled_from(["discrete", "adjacent"]),
    st.tuples(st.integers(0, 4), st.integers(0, 4)),
    st.integers(1, 12),
    st.data(),
)
def test_counts_are_exact_and_nested_cut_tokens_included(
    name: str, kinds: tuple[str, ...], placement: str, seeds: tuple[int, int], tokens: int, data: st.DataObject
) -> None:
    held = counts.capacity(backbones.get(name), ["concat"], {"concat": kinds}, tokens)["concat"]
    few, many = sorted(data.draw(st.tuples(st.integers(1, held), st.integers(1, held))))
    less, more = (scalars(lay(name, count, kinds, placement, seeds, tokens)) for count in (few, many))
    assert (len(less), len(more)) == (few, many)
    assert less.items() <= more.items()
    assert max((unit for site, unit, _ in more if site == -1), default=0) < tokens


@pytest.mark.parametrize("name", TINY)
def test_a_cut_token_takes_coordinate_after_coordinate_in_a_seeded_order(name: str) -> None:
    orders = []
    for count in range(2 * D + 1, 3 * D):
        op = lay(name, count, seeds=(0, 3))
        assert op.cut is not None
        assert (op.cut.row.size, op.cut.order.size) == (0, count - 2 * D)
        orders.append(op.cut.order.tolist())
    assert all(more[:-1] == less for less, more in pairwise(orders))
    assert orders[-1] == streams.permutation(D, "position", 3, "concat", "input side", 2)[:-1].tolist()
    whole = lay(name, 3 * D, seeds=(0, 3)).groups[0]
    assert whole.token_ids is not None
    assert whole.token_ids[2] == op.cut.token_id  # the same start when the token is whole


def test_capacity_follows_tokens_and_is_100_by_default() -> None:
    ref = backbones.get("t5-xxl")
    chosen = {"concat": ["soft_tokens"]}
    assert counts.capacity(ref, ["concat"], chosen) == {"concat": 100 * 4096}
    assert counts.capacity(ref, ["concat"], chosen, 3) == {"concat": 3 * 4096}
    assert counts.capacity(ref, ["concat"], None, 3) == counts.capacity(ref, ["concat"])
    lay("tiny-bert", 3 * D, tokens=3)
    with pytest.raises(ApetError, match=r"count 193 is above the capacity of tiny-bert: concat 192 scalars"):
        lay("tiny-bert", 3 * D + 1, tokens=3)


def test_tokens_are_part_of_apet_only_where_their_site_is() -> None:
    assert methods.apet("bert", 9).tokens is None
    assert methods.apet("bert", 9, {"concat": 1}, {"concat": ["q", "soft_tokens"]}) == Method(
        "apet", {"concat": 1}, {"concat": ("soft_tokens", "q")}, "discrete", 9, tokens=100
    )
    with pytest.raises(ApetError, match=r"tokens 5: .* give concat the site soft_tokens"):
        methods.apet("bert", 9, tokens=5)
    with pytest.raises(ApetError, match=r"tokens 0 of apet: give a positive whole number"):
        methods.apet("bert", 9, {"concat": 1}, {"concat": ["soft_tokens"]}, tokens=0)
    with pytest.raises(ApetError, match=r"site 'soft_tokens': add can't stand there"):
        methods.apet("bert", 9, {"add": 1}, {"add": ["soft_tokens"]})


def test_adjacent_begins_at_soft_tokens_or_reaches_them_by_wrapping_round() -> None:
    """They are first in canonical order."""
    ref, kinds, begun = backbones.get("tiny-bert"), ("soft_tokens", "q", "down"), set()
    for seed in range(5):
        first = sequences.adjacent_start(ref, kinds, seed, 4)
        units = sequences.adjacent("bert", ref.shape, "concat", kinds, first, 4).tolist()
        begun.add(first)
        assert units == [*range(units[0], len(units)), *range(units[0])]
        assert (units[0] == 0) == (first == -1)
    assert begun == {site.index for site in sites(ref, 4) if site.kind in kinds}


def digest(found: Layout) -> str:
    (op,) = found.ops
    text = hashlib.sha256(f"{op.op} {op.count} {op.scale}".encode())
    for group in op.groups:
        ids = [] if group.token_ids is None else group.token_ids.tolist()
        text.update(f"{group.site.name} {group.units.tolist()} {ids}".encode() + group.init.astype("<f4").tobytes())
    if op.cut is not None:
        text.update(f"{op.cut.site.name} {op.cut.unit} {op.cut.order.tolist()} {op.cut.token_id}".encode())
        text.update(np.asarray(op.cut.row).astype("<f4").tobytes())
    return text.hexdigest()[:16]


FIXED = {
    ("tiny-t5", 3 * D + 5, ("soft_tokens",), "discrete"): "1c762b86cc9d5d6f",
    ("tiny-bloom", 900, ("soft_tokens", "q"), "discrete"): "dc032cd47989afe2",
    ("tiny-bert", 17_000, ("soft_tokens", "v"), "adjacent"): "d3eae57dac386fd5",
}


@pytest.mark.parametrize("case", FIXED)
def test_fixed_digests(case: tuple[str, int, tuple[str, ...], str]) -> None:
    """Results in stores name positions by seed alone: whoever changes a digest here changes what they mean."""
    name, count, kinds, placement = case
    method = methods.apet(backbones.get(name).family, count, {"concat": 1}, {"concat": kinds}, placement)
    assert digest(positions.layout(trial(name, method, 2, 1))) == FIXED[case]


def test_a_sweep_has_prompts_of_any_length_and_counts_like_theirs() -> None:
    text = """\
backbones: [tiny-bert, tiny-t5]
tasks: [rte]
learning_rates: [0.001]
training: {steps: 1}
methods:
  - prompt
  - {method: prompt, tokens: 20}
  - {method: apet, counts: {like: [prompt, bitfit, lora, adapter]}, over_capacity: skip}
  - {method: apet, counts: {from: 16, to: prompt, points: 3}, operations: {concat: 1}, sites: {concat: [soft_tokens]}}
  - {method: apet, counts: {from: 16, to: capacity, points: 2}, operations: {concat: 1},
     sites: {concat: [soft_tokens]}, tokens: 20}
"""
    trials = [t for t in Sweep.parse(text).trials() if t.backbone.name == "tiny-bert"]
    lengths = [t.method.tokens for t in trials if t.method.name == "prompt"]
    assert lengths == [100, 20]
    apet = [(t.method.tokens, t.method.count) for t in trials if t.method.name == "apet"]
    assert (None, 6400) in apet
    assert [count for tokens, count in apet if tokens == 100] == [16, 320, 6400]
    assert [count for tokens, count in apet if tokens == 20] == [16, 20 * D]
    assert all(Trial.from_spec(t.spec) == t for t in trials)


def test_soft_tokens_stand_in_no_layer() -> None:
    for name in TINY:
        front, *layers = sites(backbones.get(name), 5)
        assert (front.kind, front.d_in, front.d_out, front.tokens) == ("soft_tokens", D, 0, 5)
        assert tuple(layers) == sites(backbones.get(name))
