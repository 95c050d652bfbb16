"""What the operations do to layers, in tensors. One file each, of the name that it has in ``trials``.

A file defines one class, a ``workers.modules.corrections.Operation``.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType

from trials.modules import operations
from workers.modules.corrections import Operation


def _class_of(name: str) -> type[Operation]:
    module = import_module(f"{__name__}.{name}")
    found = [x for x in vars(module).values() if isinstance(x, type) and issubclass(x, Operation)]
    (own,) = (x for x in found if x.__module__ == module.__name__)
    return own


OPERATIONS: Mapping[str, type[Operation]] = MappingProxyType({name: _class_of(name) for name in operations.OPERATIONS})
"""The class of every operation, in the order in which their parts stand in θ."""
