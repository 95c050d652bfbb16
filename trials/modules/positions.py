"""Where a trial's tunable scalars sit, to the scalar, and what they start as.

Each operation has one sequence of its units for one (backbone, sites, placement, position seed). A
count takes a prefix of it: whole units first, the last one cut. So the scalars of a smaller count
are among those of a larger one, with the same initial values.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trials.modules import counts, methods
from trials.modules import operations as ops
from trials.modules.sequences import adjacent, adjacent_start, adjacent_start_1, discrete, starts
from trials.modules.sites import Site, sites
from trials.streams import Key, permutation, uniform, words
from trials.trial import BackboneRef, Method, Trial

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
_CHUNK = 1 << 20  # initial values drawn at a time, so that float64 is never held for all of them


@dataclass(frozen=True, eq=False)
class Group:
    """The complete units of one operation at one site.

    Args:
        site: where.
        units: slots, int64 [n]: in sequence order; sorted where a unit is one scalar that starts at zero.
        init: initial input sides, float32 [n, unit_in]; of soft tokens [n, 0], for only a worker has the embeddings.
        token_ids: soft tokens: whose embeddings they start as, int64 [n].
    """

    site: Site
    units: Ints
    init: Floats
    token_ids: Ints | None = None


@dataclass(frozen=True, eq=False)
class Cut:
    """The last unit of an operation, which trains in part.

    Args:
        site: where.
        unit: its slot.
        order: positions inside the row [output side | input side] that train, in the order in which
            a growing count takes them, int64, fewer than the row has.
        row: the full row's initial values, float32 [unit_out + unit_in]; of a soft token [0].
        token_id: a soft token: whose embedding it starts as.
    """

    site: Site
    unit: int
    order: Ints
    row: Floats
    token_id: int | None = None


@dataclass(frozen=True, eq=False)
class OpLayout:
    """What one operation trains: a row per unit, [output side | input side] in natural order.

    Args:
        op: its name.
        count: scalars: the groups' rows in order, row by row, then the cut's in its ``order``.
        groups: complete units by site, in canonical order of sites.
        cut: the unit that trains in part; a unit of one scalar never does.
        scale: factor of the operation's correction.
    """

    op: str
    count: int
    groups: tuple[Group, ...]
    cut: Cut | None
    scale: float = 1.0


@dataclass(frozen=True, eq=False)
class Layout:
    """What a trial trains; ``ops`` in the order of ``OPERATIONS``."""

    ops: tuple[OpLayout, ...]

    @property
    def count(self) -> int:
        """Tunable scalars."""
        return sum(op.count for op in self.ops)

    @property
    def given(self) -> dict[str, int]:
        """Tunable scalars of each operation."""
        return {op.op: op.count for op in self.ops}

    def touched(self) -> tuple[Site, ...]:
        """Every site that carries something, in canonical order."""
        found = {group.site for op in self.ops for group in op.groups}
        found |= {op.cut.site for op in self.ops if op.cut is not None}
        return tuple(sorted(found, key=lambda site: site.index))


def layout(trial: Trial, *, values: bool = True) -> Layout:
    """Where the scalars of a trial sit and what they start as, for every method but ``full``.

    Positions are a function of the position seed, the operation and the backbone's sites, adjacent ones of its name and
    of the other operations' sites too; initial values of the train seed and the position seed. Time and memory are in
    proportion to the count and to the number of units of the backbone.

    Args:
        trial: of any method but ``full``.
        values: False leaves the initial values out, which are most of the work: ``init`` has no columns.

    Raises:
        ApetError: a count or a size above the capacity, or sites that the backbone can't have.
    """
    ref, method = trial.backbone, trial.method
    assert method.name != "full", "full trains the backbone itself"
    seeds = (trial.train_seed, trial.position_seed or 0)
    if method.name == "apet":
        return Layout(_apet(trial, method, seeds, values))
    vocab = ref.shape.vocab
    placed = methods.place(method, ref)
    laid = (_op_layout(p.op, p.sites, _fixed(p), p.count, seeds, vocab, values, p.scale) for p in placed)
    return Layout(tuple(laid))


def _apet(trial: Trial, method: Method, seeds: tuple[int, int], values: bool) -> tuple[OpLayout, ...]:
    ref, tokens = trial.backbone, method.tokens or 0
    given, kinds = dealt(method, ref)
    sequence = _sequences(trial, kinds, tokens)
    return tuple(
        _op_layout(
            op,
            tuple(site for site in sites(ref, tokens) if site.kind in kinds[op]),
            sequence(op),
            count,
            seeds,
            ref.shape.vocab,
            values,
        )
        for op, count in given.items()
    )


@lru_cache(maxsize=4096)
def dealt(method: Method, ref: BackboneRef) -> tuple[Mapping[str, int], Mapping[str, tuple[str, ...]]]:
    """How many scalars each operation of ``apet`` gets, and the kinds of its sites.

    Raises:
        ApetError: a count above the capacity, or sites that the backbone can't have.
    """
    assert method.operations is not None
    assert method.count is not None
    assert method.placement is not None
    counts.check_placement(method.placement)
    kinds = counts.resolve_sites(ref.family, method.operations, method.sites)
    capacities = counts.capacity(ref, method.operations, kinds, method.tokens)
    counts.check_count(method.count, capacities, ref.name)
    return counts.deal(method.count, method.operations, capacities), kinds


def _sequences(trial: Trial, kinds: Mapping[str, tuple[str, ...]], tokens: int) -> Callable[[str], NDArray[np.int32]]:
    """Each operation's units in the order in which a growing count takes them."""
    ref, seed = trial.backbone, trial.position_seed or 0
    if trial.method.placement == "discrete":
        return lambda op: discrete(ref.family, ref.shape, op, kinds[op], seed, tokens)
    first = adjacent_first(trial, {kind for some in kinds.values() for kind in some})
    return lambda op: adjacent(ref.family, ref.shape, op, kinds[op], first, tokens)


def adjacent_first(trial: Trial, kinds: Collection[str]) -> int:
    """Index of the site where a trial's adjacent runs begin, by the rule of its spec's version."""
    ref, seed = trial.backbone, trial.position_seed or 0
    if trial.spec_version == 1:
        return adjacent_start_1(ref, seed)
    return adjacent_start(ref, kinds, seed, trial.method.tokens or 0)


def _fixed(placed: methods.Placed) -> Ints:
    """The units of a method with fixed places, in canonical order."""
    first_units = starts(placed.op, placed.sites)
    return np.concatenate([start + np.arange(n) for start, n in zip(first_units, placed.units, strict=False)])


def _op_layout(
    op: str,
    places: Sequence[Site],
    units: NDArray[Any],
    count: int,
    seeds: tuple[int, int],
    vocab: int,
    with_values: bool,
    scale: float = 1.0,
) -> OpLayout:
    """The first ``count`` scalars of a sequence of ``units`` over ``places``."""
    if count == 0:
        return OpLayout(op, 0, (), None, scale)
    rules = ops.get(op)
    inputs = np.array([rules.unit_in(site) for site in places])
    sizes = inputs + np.array([rules.unit_out(site) for site in places])
    drawn = np.array([1 if site.tokens else n for site, n in zip(places, inputs, strict=True)])  # words of the stream
    drawn = drawn if with_values else np.zeros_like(drawn)
    first_units, stream = starts(op, places), ("initial", *seeds, op)

    taken = units[: -(-count // int(sizes.min()))].astype(np.int64)  # enough, and rarely many too many
    if sizes.max() == 1 and not inputs.any():
        taken.sort()  # a scalar alone has no order; rows keep their sequence, to which initial values belong
    where = np.searchsorted(first_units, taken, side="right") - 1
    ends = np.cumsum(sizes[where])
    whole = int(np.searchsorted(ends, count, side="right"))
    rest = count - (int(ends[whole - 1]) if whole else 0)
    taken, where = taken[: whole + (rest > 0)], where[: whole + (rest > 0)]

    offsets = np.concatenate([[0], np.cumsum(drawn[where])])
    values = _initial(int(offsets[-1]), stream)
    slots = taken - first_units[where]
    order = np.argsort(where[:whole], kind="stable")
    groups = []
    for i, members in _by_site(where[order], order):
        d_in = 0 if places[i].tokens or not with_values else int(inputs[i])
        rows = [values[o : o + d_in] for o in offsets[members]] if d_in else []
        init = np.stack(rows) * _bound(d_in) if rows else np.empty((len(members), 0), np.float32)
        ids = _token_ids(offsets[members], vocab, stream) if places[i].tokens and with_values else None
        groups.append(Group(places[i], slots[members], init, ids))
    cut = None
    if rest:
        site = places[where[-1]]
        cut = _cut(op, site, int(slots[-1]), rest, whole, values[offsets[-2] :], seeds[1])
        if site.tokens and with_values:
            cut = replace(cut, row=np.empty(0, np.float32), token_id=int(_token_ids(offsets[-2:-1], vocab, stream)[0]))
    return OpLayout(op, count, tuple(groups), cut, scale)


def _by_site(where: Ints, members: Ints) -> Iterator[tuple[int, Ints]]:
    """(site, its members) for ``members`` sorted by site; ``where`` is the site of each."""
    if not len(where):
        return
    edges = np.concatenate([[0], np.flatnonzero(np.diff(where)) + 1, [len(where)]])
    for low, high in pairwise(edges.tolist()):
        yield int(where[low]), members[low:high]


def _cut(op: str, site: Site, unit: int, rest: int, rank: int, values: Floats, position_seed: int) -> Cut:
    """The unit of which only ``rest`` scalars train: output side first, each side in a seeded order.

    Args:
        op: its operation.
        site: its place.
        unit: its slot.
        rest: scalars that train.
        rank: its number in the sequence, which names its order.
        values: the numbers in ±1 that its input side starts from.
        position_seed: the seed of positions.
    """
    rules = ops.get(op)
    out, d_in = rules.unit_out(site), rules.unit_in(site)
    row = np.concatenate([np.zeros(out, np.float32), values * _bound(d_in)])
    shuffled = rules.unit_shuffled(site)
    order = np.concatenate(
        [
            permutation(shuffled, "position", position_seed, op, "output side", rank),
            np.arange(shuffled, out),
            out + permutation(d_in, "position", position_seed, op, "input side", rank),
        ]
    )
    return Cut(site, unit, order[:rest], row)


def _token_ids(offsets: Ints, vocab: int, key: Sequence[Key]) -> Ints:
    """Ids of the vocabulary: the stream's words at ``offsets`` modulo its size (over 2**44 times smaller)."""
    return np.array([int(words(1, *key, offset=o)[0]) % vocab for o in offsets.tolist()], np.int64)


def _initial(n: int, key: Sequence[Key]) -> Floats:
    """``n`` numbers uniform in ±1."""
    values = np.empty(n, np.float32)
    for start in range(0, n, _CHUNK):
        part = values[start : start + _CHUNK]
        part[:] = 2.0 * uniform(len(part), *key, offset=start) - 1.0
    return values


def _bound(d_in: int) -> np.float32:
    """Input sides start uniform in ± this."""
    return np.float32(1.0 / sqrt(d_in))
