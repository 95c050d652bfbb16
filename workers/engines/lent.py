"""A model that is lent to DeepSpeed, and comes back as it was.

DeepSpeed 0.19 writes on every module and parameter, and takes little of it away in ``destroy()``. What stays behind
keeps its optimiser, with all moments, in memory (``p._z3_optimizer``), or does harm: a module that has a ``pre_bwd_fn``
gets no new one, so that the next engine's backward pass would gather and release for the engine before it. So a model's
attributes are noted before, and put back after.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

ONCE_A_MODULE = ("pre_bwd_fn", "post_bwd_fn")  # made where there are none, whoever made those that are there
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


@contextmanager
def lent(model: nn.Module) -> Iterator[None]:
    """Around all that one DeepSpeed engine does with a model, which has none of another one's hooks meanwhile.

    Values, gradients and their shards are not its concern.
    """
    from deepspeed.runtime.zero.parameter_offload import FWD_MODULE_STACK

    modules = list(model.modules())
    found = [(x, vars(x).copy()) for x in (*modules, *model.parameters())]
    running = list(FWD_MODULE_STACK)  # every engine leaves its model there, and a pass that failed leaves more
    for module in modules:
        for name in ONCE_A_MODULE:
            vars(module).pop(name, None)
        for name in HOOKS:
            hooks = vars(module)[name]
            vars(module)[name] = type(hooks)((key, hook) for key, hook in hooks.items() if not _theirs(hook))
    try:
        yield
    finally:
        FWD_MODULE_STACK[:] = running
        for x, was in found:
            vars(x).clear()
            vars(x).update(was)
        _forget_coordinators()


def _theirs(hook: Any) -> bool:
    """Whether a hook is DeepSpeed's own."""
    return str(getattr(hook, "__module__", "")).startswith("deepspeed.")


def _forget_coordinators() -> None:
    """Empty a cache of a method, which holds every coordinator that ever was, and the modules it saw."""
    from deepspeed.runtime.zero.partitioned_param_coordinator import PartitionedParameterCoordinator as Coordinator

    cached = vars(Coordinator)["_PartitionedParameterCoordinator__params_to_release"]
    for cell in cached.__closure__:
        cell.cell_contents.cache_clear()
