"""The operations: how a tunable weight enters a layer. One file each; the file's name is its name.

A file here says where an operation may stand and what a unit of it is; the file of the same name in
``workers/modules/operations`` has the tensors. Whatever else needs an operation finds it by its name.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, cast

from trials.errors import ApetError, choices
from trials.families import check_family

if TYPE_CHECKING:
    from trials.modules.sites import Site


class Operation(Protocol):
    """What a file of this folder defines. A unit's scalars are a row [output side | input side]."""

    def accepts(self, family: str, kind: str) -> bool:
        """Whether the operation may stand at sites of this kind in this family."""

    def defaults(self, family: str) -> tuple[str, ...]:
        """The kinds of sites it takes in ``apet`` when none are chosen, in the order of the forward pass."""

    def units(self, site: Site) -> int:
        """Units that fit at a site: its capacity in units."""

    def unit_out(self, site: Site) -> int:
        """Scalars of a unit's output side, which start at zero."""

    def unit_in(self, site: Site) -> int:
        """Scalars of a unit's input side, which start uniform in ±1/√unit_in (soft tokens: as embeddings)."""

    def unit_shuffled(self, site: Site) -> int:
        """How many of the output side's scalars, its first, a growing count takes in a seeded order.

        Those behind them follow as they stand; then comes the input side, all of it in a seeded order.
        """


def _discover() -> Mapping[str, Operation]:
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return MappingProxyType({name: cast(Operation, import_module(f"{__name__}.{name}")) for name in names})


OPERATIONS: Mapping[str, Operation] = _discover()
"""Every operation by name, in the order that breaks ties between them: that of the alphabet."""


def get(name: str) -> Operation:
    """An operation by its name.

    Raises:
        ApetError: unknown, with the choices.
    """
    if name not in OPERATIONS:
        raise ApetError(f"operation {name!r} is unknown; {choices(name, OPERATIONS)}")
    return OPERATIONS[name]


def default_sites(family: str, operation: str) -> tuple[str, ...]:
    """The kinds of sites that ``apet`` gives an operation when none are chosen.

    Raises:
        ApetError: unknown family or operation.
    """
    check_family(family)
    return get(operation).defaults(family)
