"""An engine by its name."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from trials.errors import ApetError, choices
from workers.engines.engine import Engine, Group
from workers.gang.gang import ALONE, Gang

ENGINES = ("plain", "deepspeed")


def check(name: str) -> None:
    """Refuse an unknown engine.

    Raises:
        ApetError: no such engine.
    """
    if name not in ENGINES:
        raise ApetError(f"engine {name!r}: {choices(name, ENGINES)}")


def make(
    name: str,
    model: nn.Module,
    groups: Sequence[Group],
    gang: Gang = ALONE,
    *,
    stage: int = 0,
    offload: bool = False,
) -> Engine:
    """An engine over ``model`` by name.

    Args:
        name: plain or deepspeed.
        model: what gives the losses.
        groups: what the trials train.
        gang: the ranks that train them together, each with its own rows.
        stage: where all weights train, what ranks share of them: DeepSpeed's stages 1 to 3, by any name; 0: nothing.
        offload: whether what they share lies in the machine's memory.

    Raises:
        ApetError: no such engine.
    """
    check(name)
    if stage:
        from workers.engines.zero import ZeroEngine

        return ZeroEngine(model, groups, gang, stage, offload)
    if name == "plain":
        from workers.engines.plain import PlainEngine

        return PlainEngine(model, groups, gang)
    from workers.engines.deepspeed import DeepSpeedEngine

    return DeepSpeedEngine(model, groups, gang)
