"""What a trial is: sweeps, tasks, backbones, counts, random streams, the row and the store. No torch, no ray.

``from trials import Sweep, Store, Trial, Pack, Record`` works; each name is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trials.pack import Pack
    from trials.store.record import Record
    from trials.store.store import Store
    from trials.sweep.sweep import Sweep
    from trials.trial import Trial

__all__ = ["Pack", "Record", "Store", "Sweep", "Trial"]

_HOMES = {"Pack": "pack", "Record": "store.record", "Store": "store.store", "Sweep": "sweep.sweep", "Trial": "trial"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'trials' has no attribute {name!r}")
    return getattr(import_module(f"trials.{_HOMES[name]}"), name)
