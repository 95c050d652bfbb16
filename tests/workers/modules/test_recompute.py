"""Blocks that the backward pass runs again: the same bits from less memory, and only where a module is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from depths_for_tests import OPERATIONS, at, tall
from tiny_for_tests import FAMILIES, WORDS, answers, batch, randomised
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from trials_for_tests import make_trial

from trials.modules.positions import layout
from trials.trial import Trial
from workers.backbone.load import stacks
from workers.modules.model import PackModel
from workers.modules.modules import Modules

families = pytest.mark.parametrize("name", FAMILIES)
BLOCKS = {"tiny-bert": 3, "tiny-bloom": 3, "tiny-t5": 5}


def mixed(name: str) -> list[Trial]:
    ref = tall(name).ref
    methods: list[dict[str, Any]] = [
        {"count": 700, "operations": {"add": 1, "concat": 2, "plug": 3}},
        {"method": "prompt", "tokens": 3},
        {"method": "adapter"},
        {"method": "bitfit"},
    ]
    return [make_trial(name, trial={"backbone": ref}, **method) for method in methods]


def packs(name: str) -> list[list[Trial]]:
    """From the embeddings up, from the second block up, in the last block alone."""
    above = [[at(name, block, OPERATIONS[op]) for op in ("add", "plug")] for block in (1, BLOCKS[name] - 1)]
    return [mixed(name), *above]


class Seen:
    """What autograd keeps of a pass, and how often each block ran."""

    def __init__(self, name: str) -> None:
        self.storages: dict[int, Tensor] = {}
        self.ran: Counter[int] = Counter()
        self.blocks = [block for stack in stacks(tall(name)).values() for block in stack.blocks]

    def pack(self, x: Tensor) -> Tensor:
        self.storages[x.untyped_storage().data_ptr()] = x
        return x

    @property
    def bytes(self) -> int:
        """Each storage once."""
        return sum(x.untyped_storage().nbytes() for x in self.storages.values())


def trained(name: str, trials: Sequence[Trial], recompute: bool) -> tuple[list[Tensor], int, list[int]]:
    """Losses and gradients; bytes that the forward pass kept outside of blocks; how often a layer of each block ran."""
    backbone, seen = tall(name), Seen(name)
    modules = Modules(backbone, [layout(t) for t in trials])
    randomised(modules)
    model = PackModel(backbone, modules, label_words=WORDS if name == "tiny-bert" else None, recompute=recompute)

    def note(number: int) -> Any:
        return lambda *_: seen.ran.update([number])

    first = [next(x for x in block.modules() if isinstance(x, torch.nn.Linear)) for block in seen.blocks]
    handles = [layer.register_forward_hook(note(number)) for number, layer in enumerate(first)]
    try:
        with saved_tensors_hooks(seen.pack, lambda x: x):
            losses = model(batch(name))
        losses.sum().backward()
        return (
            [losses.detach(), *(x.grad for x in modules.thetas if x.grad is not None)],
            seen.bytes,
            [seen.ran[number] for number in range(len(first))],
        )
    finally:
        for handle in handles:
            handle.remove()
        modules.close()


@families
def test_losses_and_gradients_are_the_same_bits(name: str) -> None:
    for trials in packs(name):
        (plain, _, _), (again, _, _) = (trained(name, trials, recompute) for recompute in (False, True))
        assert len(plain) == len(trials) + 1
        assert all(x.any() for x in plain)
        assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))


@families
def test_it_keeps_less(name: str) -> None:
    (_, plain, _), (_, again, _) = (trained(name, mixed(name), recompute) for recompute in (False, True))
    assert again < plain / 2


@families
def test_blocks_below_all_modules_run_once(name: str) -> None:
    for lowest, trials in zip((0, 1, BLOCKS[name] - 1), packs(name), strict=True):
        assert trained(name, trials, True)[2] == [1] * lowest + [2] * (BLOCKS[name] - lowest)
        assert trained(name, trials, False)[2] == [1] * BLOCKS[name]


@families
def test_nothing_of_it_stays_on_the_backbone(name: str) -> None:
    before = [{**vars(m)} for m in tall(name).model.modules()]
    trained(name, mixed(name), True)
    assert [vars(m).keys() for m in tall(name).model.modules()] == [was.keys() for was in before]
    assert not any(m.training for m in tall(name).model.modules())


@families
def test_it_scores_as_without(name: str) -> None:
    found = []
    for recompute in (False, True):
        modules = Modules(tall(name), [layout(t) for t in mixed(name)])
        randomised(modules)
        model = PackModel(tall(name), modules, label_words=WORDS if name == "tiny-bert" else None, recompute=recompute)
        found.append(answers(model, batch(name)))
        modules.close()
    assert found[0] == found[1]
