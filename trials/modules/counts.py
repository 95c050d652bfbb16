"""Exact counts: what an operation can hold, and how a count is dealt to operations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import gcd

from trials.errors import ApetError, choices
from trials.modules import operations as ops
from trials.modules.sites import TOKENS, Site, site_kinds, sites
from trials.trial import PLACEMENTS, BackboneRef


def deal(count: int, shares: Mapping[str, int], capacities: Mapping[str, int]) -> dict[str, int]:
    """Deal ``count`` scalars to operations by their shares, in closed form.

    The rule: the next scalar goes to the operation with the smallest (2·given + 1) / share, ties in
    the order of ``OPERATIONS``; an operation that is full is passed over. A larger count never takes
    from an operation.

    Args:
        count: scalars to deal.
        shares: positive weights; only their ratio matters.
        capacities: scalars that each operation can hold.

    Returns:
        Scalars given to each operation of ``shares``, in the order of ``OPERATIONS``.

    Raises:
        ApetError: the count is below 1 or above the sum of the capacities, a share is no positive integer.
    """
    active = reduced(shares)
    check_count(count, {op: capacities[op] for op in active})
    given = dict.fromkeys(active, 0)
    left = count
    while True:
        dealt = _deal_unlimited(left, active)
        # Whoever overflows here is full in the end: what the others can't hold only adds to it.
        full = [op for op in active if dealt[op] > capacities[op]]
        if not full:
            return {**given, **dealt}
        for op in full:
            given[op] = capacities[op]
            left -= capacities[op]
            del active[op]


def _deal_unlimited(count: int, shares: Mapping[str, int]) -> dict[str, int]:
    """The rule of :func:`deal` without capacities."""
    total = sum(shares.values())
    # All scalars of priority at most 2·start/total come first in the sequence, and they are at most
    # len/2 away from start: a jump to there leaves a few single steps.
    start = max(0, count - len(shares))
    given = {op: (2 * start * share + total) // (2 * total) for op, share in shares.items()}
    for _ in range(count - sum(given.values())):
        # a / s < b / t without fractions; min takes the first of equals, in the order of OPERATIONS
        best = next(iter(shares))
        for op, share in shares.items():
            if (2 * given[op] + 1) * shares[best] < (2 * given[best] + 1) * share:
                best = op
        given[best] += 1
    return given


def reduced(shares: Mapping[str, int]) -> dict[str, int]:
    """Shares in lowest terms, in the order of ``OPERATIONS``.

    Raises:
        ApetError: no operation, an unknown one, or a share that is no positive integer.
    """
    if not shares:
        raise ApetError(f"no operation; give at least one of {', '.join(ops.OPERATIONS)} a weight, as in {{add: 1}}")
    for op, share in shares.items():
        ops.get(op)
        if isinstance(share, bool) or not isinstance(share, int) or share < 1:
            raise ApetError(f"weight {share!r} of {op}: weights of operations are positive integers, as in {{{op}: 1}}")
    common = gcd(*shares.values())
    return {op: shares[op] // common for op in ops.OPERATIONS if op in shares}


def resolve_sites(
    family: str, operations: Iterable[str], chosen: Mapping[str, Iterable[str]] | None = None
) -> dict[str, tuple[str, ...]]:
    """The kinds of sites of each operation: the chosen ones, in canonical order, else the defaults.

    Raises:
        ApetError: an unknown operation or kind, an empty choice, a kind that the operation can't take
            in this family, or sites for an operation that isn't used.
    """
    names = list(operations)
    chosen = chosen or {}
    for op in names:
        ops.get(op)
    for op in chosen:
        ops.get(op)
        if op not in names:
            raise ApetError(f"sites for {op}, which has no weight; give {op} a weight in operations, or leave it out")
    return {
        op: _resolve_kinds(family, op, tuple(chosen[op])) if op in chosen else ops.default_sites(family, op)
        for op in ops.OPERATIONS
        if op in names
    }


def _resolve_kinds(family: str, op: str, kinds: tuple[str, ...]) -> tuple[str, ...]:
    valid = [kind for kind in site_kinds(family) if ops.get(op).accepts(family, kind)]
    if not kinds:
        raise ApetError(f"sites of {op}: empty; choices on {family}: {', '.join(valid)}; leave it out for the default")
    for kind in kinds:
        if kind not in valid:
            raise ApetError(f"site {kind!r}: {op} can't stand there on {family}; {choices(kind, valid)}")
    return tuple(kind for kind in valid if kind in kinds)


def capacity(
    ref: BackboneRef,
    operations: Iterable[str],
    chosen: Mapping[str, Iterable[str]] | None = None,
    tokens: int | None = None,
) -> dict[str, int]:
    """Scalars that each operation can hold on a backbone, by its shape alone.

    Args:
        ref: the backbone.
        operations: names; the result has their canonical order.
        chosen: kinds of sites per operation; those left out have their defaults.
        tokens: room for soft tokens, where they are among the sites; None: 100.

    Raises:
        ApetError: as :func:`resolve_sites`.
    """
    kinds = resolve_sites(ref.family, operations, chosen)
    places = sites(ref, tokens or TOKENS)
    return {
        op: sum(ops.get(op).units(site) * unit_size(op, site) for site in places if site.kind in kinds[op])
        for op in kinds
    }


def unit_size(operation: str, site: Site) -> int:
    """Scalars of one unit of an operation at a site, both sides."""
    rules = ops.get(operation)
    return rules.unit_out(site) + rules.unit_in(site)


def check_count(count: int, capacities: Mapping[str, int], where: str = "") -> None:
    """Refuse a count that can't be dealt.

    Args:
        count: scalars asked for.
        capacities: scalars that each operation can hold.
        where: what they belong to (a backbone), for the message.

    Raises:
        ApetError: below 1, or above the capacity, which it names per operation.
    """
    total = sum(capacities.values())
    if count < 1:
        raise ApetError(f"count {count}: a count is a whole number from 1 to the capacity, here {total}")
    if count > total:
        parts = " + ".join(f"{op} {held}" for op, held in capacities.items())
        sum_of = f"{parts} = {total}" if len(capacities) > 1 else parts
        raise ApetError(
            f"count {count} is above the capacity{f' of {where}' if where else ''}: {sum_of} scalars; "
            "ask for fewer, for more sites or operations, or set over_capacity: skip"
        )


def check_placement(placement: str) -> None:
    """Refuse an unknown placement.

    Raises:
        ApetError: with the valid ones.
    """
    if placement not in PLACEMENTS:
        raise ApetError(f"placement {placement!r} is unknown; {choices(placement, PLACEMENTS)}")
