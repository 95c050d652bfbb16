"""The methods as a table: which operations a method places where, and how many units of each.

``prompt``, ``bitfit``, ``lora`` and ``adapter`` are placements of the three operations, not code of their own.
``full`` trains the backbone itself and places nothing; ``apet`` places by seed (``trials.modules.positions``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from types import MappingProxyType

from trials.errors import ApetError, choices
from trials.modules import operations as ops
from trials.modules.counts import check_placement, reduced, resolve_sites, unit_size
from trials.modules.sites import SOFT_TOKENS, TOKENS, Site, sites
from trials.trial import BackboneRef, Method


@dataclass(frozen=True)
class Placed:
    """Units of one operation at fixed places: the first ``units[i]`` slots of ``sites[i]``.

    Args:
        op: the operation.
        sites: places in canonical order.
        units: how many units each holds.
        scale: factor of the correction.
    """

    op: str
    sites: tuple[Site, ...]
    units: tuple[int, ...]
    scale: float = 1.0

    @property
    def count(self) -> int:
        """Tunable scalars."""
        return sum(n * unit_size(self.op, site) for site, n in zip(self.sites, self.units, strict=True))


Place = Callable[[Method, BackboneRef], tuple[Placed, ...]]


@dataclass(frozen=True)
class Size:
    """A size of a method.

    Args:
        default: that of OpenDelta, which the study's authors used; its type is the size's: an int is a positive whole
            number, a float any positive number.
        what: one sentence for people.
    """

    default: int | float
    what: str


@dataclass(frozen=True)
class Rule:
    """A row of the table of methods: a sweep file takes its name and its sizes from here.

    Args:
        summary: one sentence for people.
        sizes: by name; several methods may have one of the same name.
        place: where it puts what; None for ``full`` and ``apet``.
    """

    summary: str
    sizes: Mapping[str, Size] = field(default_factory=dict)
    place: Place | None = None


def _prompt(method: Method, ref: BackboneRef) -> tuple[Placed, ...]:
    assert method.tokens is not None
    return (Placed("concat", sites(ref, method.tokens)[:1], (method.tokens,)),)


def _bitfit(method: Method, ref: BackboneRef) -> tuple[Placed, ...]:
    """Every site: each has a bias on BERT and BLOOM, and gets one on T5."""
    return (Placed("add", sites(ref), tuple(site.d_out for site in sites(ref))),)


def _lora(method: Method, ref: BackboneRef) -> tuple[Placed, ...]:
    assert method.rank is not None
    assert method.alpha is not None
    places = _at(ref, ("q", "v"))
    _check_units(f"rank {method.rank} of lora", method.rank, "concat", places, ref)
    return (Placed("concat", places, (method.rank,) * len(places), scale=method.alpha / method.rank),)


def _adapter(method: Method, ref: BackboneRef) -> tuple[Placed, ...]:
    """Bottleneck units and an output bias, after self-attention and after the feed-forward."""
    assert method.bottleneck is not None
    places = _at(ref, ("o", "down"))
    _check_units(f"bottleneck {method.bottleneck} of adapter", method.bottleneck, "plug", places, ref)
    return (
        Placed("add", places, tuple(site.d_out for site in places)),
        Placed("plug", places, (method.bottleneck,) * len(places)),
    )


METHODS: Mapping[str, Rule] = MappingProxyType(
    {
        "full": Rule("All of the backbone's own weights."),
        "prompt": Rule("Soft tokens in front of the text.", {"tokens": Size(TOKENS, "How many soft tokens.")}, _prompt),
        "bitfit": Rule("A bias on every linear layer and norm.", place=_bitfit),
        "lora": Rule(
            "Low-rank components on the queries and values of self-attention.",
            {"rank": Size(8, "Components of a layer."), "alpha": Size(16.0, "The scale is alpha / rank.")},
            _lora,
        ),
        "adapter": Rule(
            "Bottlenecks after self-attention and feed-forward.",
            {"bottleneck": Size(24, "Units of a bottleneck.")},
            _adapter,
        ),
        "apet": Rule("Any number of parameters at seeded positions."),
    }
)
"""Every method by name."""

MIXTURE: Mapping[str, int] = MappingProxyType({"add": 1, "concat": 1, "plug": 1})
"""Weights of the operations in ``apet`` where none are given: the study's. Another operation is asked for by name, so
that a file which is added changes no trial."""


SIZED: tuple[str, ...] = tuple(name for name, row in METHODS.items() if row.place is not None)
"""The methods with fixed places, whose count follows from the backbone."""


def rule(name: str) -> Rule:
    """The row of a method.

    Raises:
        ApetError: unknown, with the choices.
    """
    if name not in METHODS:
        raise ApetError(f"method {name!r} is unknown; {choices(name, METHODS)}")
    return METHODS[name]


def named(name: str, **sizes: int | float | None) -> Method:
    """A method other than ``apet`` as trials carry it, its defaults filled in.

    >>> named("lora", rank=4)
    Method(name='lora', operations=None, sites=None, placement=None, count=None, rank=4, alpha=16.0, \
bottleneck=None, tokens=None, further={})

    Args:
        name: of the method.
        sizes: those of its row; None means the default.

    Raises:
        ApetError: an unknown method, a size that it doesn't have, or one that isn't positive.
    """
    assert name != "apet", "apet has a count: see apet()"
    known = rule(name).sizes
    chosen = {size: row.default for size, row in known.items()}
    for size, value in sizes.items():
        if size not in known:
            has = f"its sizes: {', '.join(known)}" if known else "it has no sizes"
            raise ApetError(f"{size} is no size of {name}; {has}")
        if value is None:
            continue
        whole = isinstance(known[size].default, int)
        if isinstance(value, bool) or (whole and not isinstance(value, int)) or not (isfinite(value) and value > 0):
            raise ApetError(f"{size} {value!r} of {name}: give a positive {'whole ' if whole else ''}number")
        chosen[size] = value if whole else float(value)
    return Method.sized(name, chosen)


def apet(
    family: str,
    count: int,
    operations: Mapping[str, int] | None = None,
    sites: Mapping[str, Iterable[str]] | None = None,
    placement: str = "discrete",
    tokens: int | None = None,
) -> Method:
    """``apet`` as trials carry it: shares in lowest terms, sites written out in canonical order.

    Args:
        family: of the backbone.
        count: tunable scalars; the capacity is checked later, where the backbone is known.
        operations: weights per operation; None: :data:`MIXTURE`.
        sites: kinds per operation; those left out have their defaults.
        placement: ``discrete`` or ``adjacent``.
        tokens: room for soft tokens, where they are among the sites; None: 100.

    Raises:
        ApetError: a value that isn't valid, with the choices.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ApetError(f"count {count!r}: give a whole number from 1 to the capacity")
    check_placement(placement)
    shares = reduced(MIXTURE if operations is None else operations)
    kinds = resolve_sites(family, shares, sites)
    return Method(
        "apet",
        operations=shares,
        sites=kinds,
        placement=placement,
        count=count,
        tokens=_room(tokens, family, kinds),
    )


def place(method: Method, ref: BackboneRef) -> tuple[Placed, ...]:
    """Where a method with fixed places puts what, in the order of operations.

    Raises:
        ApetError: an unknown method, or a size above a site's capacity.
    """
    places = rule(method.name).place
    assert places is not None, f"{method.name} has no fixed places"
    return places(method, ref)


def count_of(method: Method, ref: BackboneRef) -> int | None:
    """Tunable scalars of a method on a backbone, by its shape alone; None for ``full``, which is measured.

    Raises:
        ApetError: an unknown method, or a size above a site's capacity.
    """
    if method.name == "full":
        return None
    if method.name == "apet":
        return method.count
    return sum(placed.count for placed in place(method, ref))


def _room(tokens: int | None, family: str, kinds: Mapping[str, tuple[str, ...]]) -> int | None:
    """How many soft tokens ``apet`` may have: a part of its identity only where it has their site."""
    if not any(SOFT_TOKENS in chosen for chosen in kinds.values()):
        if tokens is not None:
            takers = " or ".join(name for name, rules in ops.OPERATIONS.items() if rules.accepts(family, SOFT_TOKENS))
            raise ApetError(
                f"tokens {tokens}: room for soft tokens, but no operation has their site; "
                f"give {takers} the site {SOFT_TOKENS}, or leave tokens out"
            )
        return None
    if tokens is None:
        return TOKENS
    if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 1:
        raise ApetError(f"tokens {tokens!r} of apet: give a positive whole number")
    return tokens


def _at(ref: BackboneRef, kinds: tuple[str, ...]) -> tuple[Site, ...]:
    return tuple(site for site in sites(ref) if site.kind in kinds)


def _check_units(what: str, units: int, op: str, places: tuple[Site, ...], ref: BackboneRef) -> None:
    held = min(ops.get(op).units(site) for site in places)
    if units > held:
        raise ApetError(f"{what} is above the capacity of {ref.name}: {op} holds {held} units a site; ask for fewer")
