"""Positions: exact, nested, and contiguous when adjacent."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trials import backbones, streams
from trials.errors import ApetError
from trials.modules import counts, methods, positions
from trials.modules import operations as ops
from trials.modules.positions import Layout, OpLayout
from trials.modules.sites import sites
from trials.trial import Method, Source, TaskRef, Training, Trial

TINY = ("tiny-bert", "tiny-bloom", "tiny-t5")
OPERATIONS = tuple(ops.OPERATIONS)
PLACEMENTS = ("discrete", "adjacent")
SHARES = st.dictionaries(st.sampled_from(OPERATIONS), st.integers(1, 5), min_size=1)


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
    chosen: dict[str, list[str]] | None = None,
) -> Layout:
    method = methods.apet(backbones.get(name).family, count, shares, chosen, placement)
    return positions.layout(trial(name, method, seed, train_seed))


def scalars(op: OpLayout) -> dict[tuple[int, int, int], float]:
    """(site, unit, coordinate in the row) of every scalar of an operation, with its initial value, in θ's order."""
    found: dict[tuple[int, int, int], float] = {}
    rules = ops.get(op.op)
    for group in op.groups:
        out = rules.unit_out(group.site)
        for unit, init in zip(group.units.tolist(), group.init.tolist(), strict=True):
            row = [0.0] * out + init
            found |= {(group.site.index, unit, i): value for i, value in enumerate(row)}
    if op.cut is not None:
        found |= {(op.cut.site.index, op.cut.unit, i): float(op.cut.row[i]) for i in op.cut.order.tolist()}
    return found


def codes(op: OpLayout) -> tuple[np.ndarray, np.ndarray]:
    """The same as sorted integers and float32 values, for many scalars."""
    rules, where, values = ops.get(op.op), [], []
    for group in op.groups:
        out, d_in = rules.unit_out(group.site), rules.unit_in(group.site)
        assert group.init.shape == (len(group.units), d_in)
        where.append(((group.site.index << 40) + (group.units[:, None] << 20) + np.arange(out + d_in)).ravel())
        values.append(np.hstack([np.zeros((len(group.units), out), np.float32), group.init]).ravel())
    if op.cut is not None:
        where.append((op.cut.site.index << 40) + (op.cut.unit << 20) + op.cut.order)
        values.append(op.cut.row[op.cut.order])
    code = np.concatenate([np.zeros(0, np.int64), *where])
    order = np.argsort(code)
    return code[order], np.concatenate([np.zeros(0, np.float32), *values])[order]


def in_sequence(name: str, op: str, placement: str, seed: int, train_seed: int) -> list[tuple[int, int, int, float]]:
    """The definition, scalar by scalar: every (site, unit, coordinate, initial value) in the order of being taken."""
    ref, rules = backbones.get(name), ops.get(op)
    places = [site for site in sites(ref) if site.kind in rules.defaults(ref.family)]
    units = [(site, slot) for site in places for slot in range(rules.units(site))]
    if placement == "discrete":
        units = [units[i] for i in streams.permutation(len(units), "position", seed, op, "units")]
    else:
        order = streams.permutation(len(places), "position", "adjacent", name)
        start = places[order[seed % len(places)]].index
        units = [u for u in units if u[0].index >= start] + [u for u in units if u[0].index < start]
    found, drawn = [], 0
    for rank, (site, slot) in enumerate(units):
        d_in, out = rules.unit_in(site), rules.unit_out(site)
        words = streams.uniform(d_in, "initial", train_seed, seed, op, offset=drawn)
        init = (2 * words - 1).astype(np.float32) * np.float32(1 / np.sqrt(max(d_in, 1)))
        drawn += d_in
        first = streams.permutation(site.d_out, "position", seed, op, "output side", rank).tolist() if d_in else [0]
        order = [*first, *range(len(first), out)]
        found += [(site.index, slot, i, 0.0) for i in order]
        second = streams.permutation(d_in, "position", seed, op, "input side", rank).tolist()
        found += [(site.index, slot, out + i, float(init[i])) for i in second]
    return found


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("op", OPERATIONS)
@pytest.mark.parametrize("name", TINY)
def test_a_count_is_a_prefix_of_the_sequence(name: str, op: str, placement: str) -> None:
    sequence = in_sequence(name, op, placement, seed=3, train_seed=1)
    assert counts.capacity(backbones.get(name), [op])[op] == len(sequence)
    d = 64
    for count in (1, 2, d - 1, d, d + 1, d + 2, 2 * d, 2 * d + 1, 2 * d + 2, 700, len(sequence)):
        (found,) = lay(name, count, {op: 1}, placement, seed=3, train_seed=1).ops
        expected = {(site, unit, i): value for site, unit, i, value in sequence[:count]}
        assert scalars(found) == expected
        assert found.count == count


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(TINY),
    SHARES,
    st.sampled_from(PLACEMENTS),
    st.integers(0, 5),
    st.integers(0, 5),
    st.data(),
)
def test_counts_are_exact_and_nested(
    name: str, shares: dict[str, int], placement: str, seed: int, train_seed: int, data: st.DataObject
) -> None:
    capacities = counts.capacity(backbones.get(name), shares)
    total = sum(capacities.values())
    sizes = st.one_of(st.integers(1, total), st.integers(1, min(total, 400)))
    few, many = sorted((data.draw(sizes), data.draw(sizes)))
    less, more = (lay(name, count, shares, placement, seed, train_seed) for count in (few, many))
    for found, count in ((less, few), (more, many)):
        assert found.count == count
        assert found.given == counts.deal(count, shares, capacities)
        assert sum(len(codes(op)[0]) for op in found.ops) == count
        assert [site.index for site in found.touched()] == sorted({c >> 40 for op in found.ops for c in codes(op)[0]})
    for small, large in zip(less.ops, more.ops, strict=True):
        where, values = codes(small)
        among, theirs = codes(large)
        assert len(np.unique(among)) == len(among) == large.count
        at = np.searchsorted(among, where)
        assert at.max(initial=-1) < len(among)
        np.testing.assert_array_equal(among[at], where)
        np.testing.assert_array_equal(theirs[at], values)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(TINY), st.sampled_from(OPERATIONS), st.sampled_from(PLACEMENTS), st.integers(0, 9))
def test_order_in_the_layout(name: str, op: str, placement: str, seed: int) -> None:
    """Groups in canonical order of sites; coordinates of ``add`` sorted; the cut one comes after its output side."""
    capacity = counts.capacity(backbones.get(name), [op])[op]
    (found,) = lay(name, capacity // 2 + 1, {op: 1}, placement, seed).ops
    order = [group.site.index for group in found.groups]
    assert order == sorted(set(order))
    if op == "add":
        assert found.cut is None
        assert all((np.diff(group.units) > 0).all() for group in found.groups)
    elif found.cut is not None:
        rules, site = ops.get(op), found.cut.site
        out = rules.unit_out(site)
        assert len(found.cut.order) < len(found.cut.row) == out + rules.unit_in(site)
        assert set(found.cut.order[:out].tolist()) <= set(range(out))
        assert not found.cut.row[:out].any()
        if op == "plug" and len(found.cut.order) >= out:
            assert found.cut.order[out - 1] == site.d_out  # c, after all of v


@pytest.mark.parametrize("name", ["tiny-t5", "t5-small", "bloom-560m"])
def test_input_sides_are_uniform_within_their_bound(name: str) -> None:
    for op in lay(name, 300_000 if name != "tiny-t5" else 90_000, {"concat": 1, "plug": 1}).ops:
        for group in op.groups:
            d_in = ops.get(op.op).unit_in(group.site)
            scaled = group.init.ravel() * np.sqrt(d_in)
            assert np.abs(scaled).max() <= 1 + 1e-6
            assert abs(scaled.mean()) < 6 * (1 / 3 / scaled.size) ** 0.5
            assert abs(scaled.std() - 3**-0.5) < 6 * (1 / scaled.size) ** 0.5


def test_axes_never_couple() -> None:
    """Positions don't see count, train seed or the other operations; nothing sees task or rate."""
    alone = lay("tiny-t5", 200, {"concat": 1}, seed=2)
    mixed = lay("tiny-t5", 600, None, seed=2, train_seed=7)
    (one,), other = alone.ops, mixed.ops[1]
    assert one.count == other.count == 200
    assert list(scalars(one)) == list(scalars(other))
    values, theirs = (np.array(list(scalars(op).values())) for op in (one, other))
    assert (values != 0).sum() == (theirs != 0).sum() > 0
    assert not (values == theirs)[values != 0].any()  # another train seed, other initial values
    same = lay("tiny-t5", 200, {"concat": 1}, seed=2, train_seed=7).ops[0]
    assert scalars(same) == scalars(other)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(TINY), SHARES, st.sampled_from(PLACEMENTS), st.integers(0, 5), st.integers(1, 900))
def test_an_operation_stands_where_it_stands_alone_whatever_the_train_seed(
    name: str, shares: dict[str, int], placement: str, seed: int, count: int
) -> None:
    """Adjacent ones as long as the mixture has the same sites: it begins as one."""
    same = None if placement == "discrete" else {op: ["o", "down"] for op in shares}
    mixed = lay(name, min(count, 256), shares, placement, seed, train_seed=1, chosen=same)
    for op in mixed.ops:
        if op.count:
            alone_at = same and {op.op: same[op.op]}
            (alone,) = lay(name, op.count, {op.op: 1}, placement, seed, train_seed=2, chosen=alone_at).ops
            assert list(scalars(alone)) == list(scalars(op))


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_seeds_differ(placement: str) -> None:
    found = {frozenset(scalars(lay("tiny-t5", 40, {"add": 1}, placement, seed).ops[0])) for seed in range(6)}
    assert len(found) == 6


def test_operations_draw_from_streams_of_their_own() -> None:
    concat, plug = lay("tiny-bert", 3000, {"concat": 1, "plug": 1}).ops
    assert concat.groups[0].init[0, :4].tolist() != plug.groups[0].init[0, :4].tolist()
    assert len({float(v) for op in (concat, plug) for g in op.groups for v in g.init.ravel()}) > 1200


def test_named_methods_start_from_the_streams_of_train_seeds() -> None:
    lora = methods.named("lora", rank=2, alpha=3.0)
    one, other = (positions.layout(trial("tiny-t5", lora, None, seed)).ops[0] for seed in (0, 1))
    assert one.scale == 1.5
    assert [group.units.tolist() for group in one.groups] == [[0, 1]] * 8
    assert not np.array_equal(one.groups[0].init, other.groups[0].init)
    flat = np.concatenate([group.init.ravel() for group in one.groups])
    np.testing.assert_array_equal(
        flat, (2 * streams.uniform(1024, "initial", 0, 0, "concat") - 1).astype(np.float32) / np.float32(8)
    )
    adapter = positions.layout(trial("tiny-bert", methods.named("adapter", bottleneck=2), None))
    assert [op.op for op in adapter.ops] == ["add", "plug"]
    assert adapter.given == {"add": 4 * 64, "plug": 4 * 2 * 129}


def test_above_capacity() -> None:
    with pytest.raises(ApetError, match=r"count 769 is above the capacity of tiny-bert: add 768 scalars"):
        lay("tiny-bert", 769, {"add": 1})


def test_an_operation_may_get_nothing() -> None:
    found = lay("tiny-bert", 2, {"add": 9, "plug": 1})
    assert found.given == {"add": 2, "plug": 0}
    assert found.ops[1].groups == ()
    assert found.ops[1].cut is None


@pytest.mark.parametrize("name", ["tiny-bert", "tiny-bloom", "tiny-t5"])
def test_positions_without_initial_values_are_the_same(name: str) -> None:
    ref = backbones.get(name)
    one = trial(name, methods.apet(ref.family, 5001))
    for bare, op in zip(positions.layout(one, values=False).ops, positions.layout(one).ops, strict=True):
        assert (bare.op, bare.count) == (op.op, op.count)
        for mine, theirs in zip(bare.groups, op.groups, strict=True):
            assert mine.site == theirs.site
            np.testing.assert_array_equal(mine.units, theirs.units)
            assert mine.init.shape == (len(mine.units), 0)
        assert (bare.cut is None) == (op.cut is None)
        if bare.cut is not None and op.cut is not None:
            np.testing.assert_array_equal(bare.cut.order, op.cut.order)
