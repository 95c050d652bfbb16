"""Tiny backbones of a few blocks, trials that begin in one of them, and what every block sees of a pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from tiny_for_tests import FAMILIES, frozen
from torch import nn
from trials_for_tests import make_trial

from trials.modules.depth import lowest_block
from trials.trial import Trial
from workers.backbone.load import stacks

B = 4  # rows
ENCODER = 3  # blocks; BLOOM's only stack has as many, T5's decoder two
SHAPES: dict[str, dict[str, int]] = {name: {"blocks": ENCODER} for name in FAMILIES}
SHAPES["tiny-t5"]["decoder_blocks"] = 2
OPERATIONS: dict[str, dict[str, Any]] = {
    "add": {"operations": {"add": 1}, "count": 40},
    "concat": {"operations": {"concat": 1}, "count": 300},
    "plug": {"operations": {"plug": 1}, "count": 150},
    "mixed": {"operations": {"add": 1, "concat": 4, "plug": 2}, "count": 500},
}
NORMS = {"operations": {"add": 1}, "sites": {"add": ("norm",)}, "count": 20}


@cache
def tall(name: str) -> Any:
    """A frozen backbone of a few blocks; no test leaves a hook on it."""
    return frozen(name, **SHAPES[name])


def at(name: str, block: int, case: dict[str, Any], seeds: Sequence[int] = range(150)) -> Trial:
    """An adjacent trial whose position seed has it begin in a block, as :func:`lowest_block` numbers them."""
    for seed in seeds:
        one = make_trial(name, placement="adjacent", trial={"backbone": tall(name).ref, "position_seed": seed}, **case)
        if lowest_block(one) == block:
            return one
    raise AssertionError(f"no position seed begins in block {block}")


@contextmanager
def seen(backbone: Any, below: int = 0) -> Iterator[list[int]]:
    """The rows that every block gives, in the order in which they run; so many of a pass's first have no graph."""
    rows: list[int] = []

    def note(block: nn.Module, args: Any, out: Any) -> None:
        hidden = out[0] if isinstance(out, tuple) else out
        assert not (hidden.requires_grad and len(rows) < below), "a graph where slices are one"
        rows.append(len(hidden))

    handles = [b.register_forward_hook(note) for stack in stacks(backbone).values() for b in stack.blocks]
    yield rows
    for handle in handles:
        handle.remove()
