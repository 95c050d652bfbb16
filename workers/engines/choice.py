"""An engine by its name."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from trials.errors import ApetError, choices
from workers.engines.engine import Engine, Group

ENGINES = ("plain", "deepspeed")


def check(name: str) -> None:
    """Refuse an unknown engine.

    Raises:
        ApetError: no such engine.
    """
    if name not in ENGINES:
        raise ApetError(f"engine {name!r}: {choices(name, ENGINES)}")


def make(name: str, model: nn.Module, groups: Sequence[Group]) -> Engine:
    """An engine over ``model`` by name.

    Raises:
        ApetError: no such engine.
    """
    check(name)
    if name == "plain":
        from workers.engines.plain import PlainEngine

        return PlainEngine(model, groups)
    from workers.engines.deepspeed import DeepSpeedEngine

    return DeepSpeedEngine(model, groups)
