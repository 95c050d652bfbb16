"""What slices share: below the lowest block that any of them touches, a pass runs once, on b rows.

From that block up every block gets K·b rows. The stack hands its blocks what it made of b rows (masks, biases, the
encoder's states), so each of them repeats that, told by the argument's name: K·b may be b times the number of heads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from functools import cache
from inspect import signature
from typing import Any

from torch import Tensor, nn

from trials.families import BLOCKS
from trials.modules.positions import Layout
from trials.modules.sites import Site
from workers.backbone.load import Stack

Place = tuple[int, int]
"""A stack, in the order of the forward pass, and a block of it: -1 before the first, the number of blocks after all."""
States = MutableMapping[str, Tensor]
"""What a block gets of the blocks below it, by argument, of b rows."""

BOTTOM: Place = (0, -1)  # the embeddings, their norm and soft tokens
DECODER: Place = (1, -1)  # of T5, which reads what the encoder made
HIDDEN = "hidden_states"
ENCODED = "encoder_hidden_states"
OF_ROWS = frozenset({"input_ids", "attention_mask", "alibi", ENCODED, "encoder_attention_mask"})
OF_POSITIONS = frozenset({"position_bias", "encoder_decoder_position_bias"})  # T5: one for all rows, made by a block


def lowest(layout: Layout, family: str) -> Place:
    """Where a trial's lowest module stands; the bottom for one that has none."""
    return min((_place(site, family) for site in layout.touched()), default=BOTTOM)


def _place(site: Site, family: str) -> Place:
    return list(BLOCKS[family]).index(site.stack), site.block


@contextmanager
def forked(stacks: Sequence[Stack], place: Place, k: int, below: States) -> Iterator[None]:
    """Inside, a pass of b rows has K·b rows from ``place`` on, slice after slice.

    Args:
        stacks: the backbone's.
        place: above the bottom.
        k: slices.
        below: what the block there gets of those below: if it is there they aren't run, else it is put there.
    """
    at, block = place
    stack = stacks[at]
    blocks = stack.blocks
    steps: list[nn.Module] = [*blocks, *([stack.norm] if stack.norm is not None else [])]
    repeated: dict[str, tuple[Tensor, Tensor]] = {}  # a pass hands the same tensor to block after block

    def widened(name: str, x: Any) -> Any:
        if name not in OF_ROWS or x is None:
            assert name in OF_POSITIONS or not isinstance(x, Tensor), f"is {name!r} of rows? Name it in {__name__}"
            return x
        if name not in repeated or repeated[name][0] is not x:
            repeated[name] = x, repeat(x, k)
        return repeated[name][1]

    def branch(step: nn.Module, args: tuple[Any, ...], others: dict[str, Any]) -> tuple[tuple[Any, ...], Any]:
        hidden, named = args[0], {**dict(zip(_arguments(type(step).forward)[1:], args[1:], strict=False)), **others}
        if not below:
            below.update({name: x for name, x in named.items() if name in OF_POSITIONS and x is not None})
            below[HIDDEN] = hidden
        named |= {name: x for name, x in below.items() if name != HIDDEN}
        return (repeat(below[HIDDEN], k),), {name: widened(name, x) for name, x in named.items()}

    def widen(step: nn.Module, args: tuple[Any, ...], others: dict[str, Any]) -> tuple[tuple[Any, ...], Any]:
        names = _arguments(type(step).forward)[1:]
        rest = (widened(name, x) for name, x in zip(names, args[1:], strict=False))
        return (args[0], *rest), {name: widened(name, x) for name, x in others.items()}

    def widen_all(owner: nn.Module, args: tuple[Any, ...], others: dict[str, Any]) -> tuple[tuple[Any, ...], Any]:
        assert not args, "the next stack's arguments have names"
        return (), {name: x if name == ENCODED else widened(name, x) for name, x in others.items()}

    handles = [steps[block].register_forward_pre_hook(branch, with_kwargs=True)]
    handles += [step.register_forward_pre_hook(widen, with_kwargs=True) for step in blocks[block + 1 :]]
    handles += [after.owner.register_forward_pre_hook(widen_all, with_kwargs=True) for after in stacks[at + 1 :]]
    if below:
        setattr(stack.owner, stack.name, blocks[block:])
    try:
        yield
    finally:
        setattr(stack.owner, stack.name, blocks)
        for handle in handles:
            handle.remove()


@cache
def _arguments(forward: Callable[..., Any]) -> Sequence[str]:
    """Names of a method's arguments, in order."""
    return list(signature(forward).parameters)[1:]


def repeat(x: Tensor, k: int) -> Tensor:
    """[b, …] → [K·b, …], slice after slice."""
    return x if k == 1 else x.repeat(k, *([1] * (x.dim() - 1)))
