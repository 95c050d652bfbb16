"""An engine by its name."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from trials.errors import ApetError, choices
from workers.engines.engine import Engine, Group

ENGINES = ("plain", "deepspeed")


def make(name: str, model: nn.Module, groups: Sequence[Group]) -> Engine:
    """An engine over ``model`` by name.

    Raises:
        ApetError: no such engine.
    """
    if name == "plain":
        from workers.engines.plain import PlainEngine

        return PlainEngine(model, groups)
    if name == "deepspeed":
        from workers.engines.deepspeed import DeepSpeedEngine

        return DeepSpeedEngine(model, groups)
    raise ApetError(f"engine {name!r}: {choices(name, ENGINES)}")
