"""Backward stops below the lowest touched layer: no graph there, and nothing saved for it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from contenders import only_block
from torch import Tensor, nn

from trials import backbones
from trials.modules.positions import layout
from trials.trial import Shape
from workers.backbone import weights
from workers.backbone.load import blocks
from workers.modules.modules import Modules

FAMILIES = ("bert", "bloom", "t5")
BLOCKS = 12
TOP = BLOCKS - 1


def tall(family: str) -> Any:
    """A frozen backbone of 12 blocks (T5: and 12 of the decoder), 16 wide."""
    shape = Shape(BLOCKS, BLOCKS if family == "t5" else 0, 16, 64, 2, 8, vocab=50, positions=16, lm_head=True)
    ref = replace(backbones.get(f"tiny-{family}"), shape=shape)
    model = weights._empty(ref)
    weights._fill(model, ref)
    model.eval().requires_grad_(False)
    return SimpleNamespace(ref=ref, model=model, device=torch.device("cpu"))


def stacks(backbone: Any) -> dict[tuple[str, int], nn.Module]:
    """Every block by stack and number."""
    names = {"bert": ["encoder"], "bloom": ["decoder"], "t5": ["encoder", "decoder"]}[backbone.ref.family]
    return {(stack, i): block for stack in names for i, block in enumerate(blocks(backbone, stack))}


def top_stack(family: str) -> str:
    return "encoder" if family == "bert" else "decoder"


class Watch:
    """Per block: bytes saved for backward in it, and whether its output has a graph."""

    def __init__(self, backbone: Any) -> None:
        self.saved: Counter[tuple[str, int] | None] = Counter()
        self.graph: dict[tuple[str, int], bool] = {}
        self._now: tuple[str, int] | None = None
        for key, block in stacks(backbone).items():
            block.register_forward_pre_hook(lambda module, args, key=key: self._enter(key, args[0]))
            block.register_forward_hook(lambda module, args, out, key=key: self._leave(key, out))

    def _enter(self, key: tuple[str, int], hidden: Tensor) -> None:
        self._now = key
        if key[1] == 0:
            assert not hidden.requires_grad, "an embedding's output that requires a gradient drags backward down to it"

    def _leave(self, key: tuple[str, int], out: Any) -> None:
        self._now = None
        self.graph[key] = any(x.requires_grad for x in (out if isinstance(out, tuple) else (out,)) if x is not None)

    def pack(self, x: Tensor) -> Tensor:
        self.saved[self._now] += x.numel() * x.element_size()
        return x


def run(backbone: Any) -> Watch:
    watch = Watch(backbone)
    ids = torch.arange(3 * 7).view(3, 7) % 40 + 5
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if backbone.ref.family == "t5":
        inputs["decoder_input_ids"] = ids[:, :4]
    with torch.autograd.graph.saved_tensors_hooks(watch.pack, lambda x: x):
        backbone.model(**inputs).logits.square().sum().backward()
    return watch


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", ["bitfit", "lora", "adapter"])
def test_blocks_below_the_lowest_touched_one_have_no_graph_and_save_nothing(
    family: str, method: str, trial: Any
) -> None:
    backbone = tall(family)
    every = layout(replace(trial(f"tiny-{family}", method), backbone=backbone.ref))
    top = top_stack(family), TOP
    modules = Modules(backbone, [only_block(every, *top)])
    modules.bind()
    watch = run(backbone)
    assert [key for key, has in watch.graph.items() if has] == [top]
    assert [key for key in stacks(backbone) if watch.saved[key]] == [top]
    gradient = modules.thetas[0].grad
    assert gradient is not None
    assert gradient.abs().max() > 0
    assert all(not p.requires_grad for p in backbone.model.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_module_in_every_block_has_a_graph_everywhere(family: str, trial: Any) -> None:
    backbone = tall(family)
    modules = Modules(backbone, [layout(replace(trial(f"tiny-{family}", "lora"), backbone=backbone.ref))])
    modules.bind()
    watch = run(backbone)
    assert all(watch.graph.values())
    assert all(watch.saved[key] for key in stacks(backbone))


def test_t5_with_decoder_sites_only_runs_its_encoder_without_a_graph(trial: Any) -> None:
    backbone = tall("t5")
    every = layout(replace(trial("tiny-t5", "lora"), backbone=backbone.ref))
    modules = Modules(backbone, [only_block(every, "decoder", 0)])
    modules.bind()
    watch = run(backbone)
    assert {stack for (stack, _), has in watch.graph.items() if has} == {"decoder"}
    assert not any(watch.saved["encoder", i] for i in range(BLOCKS))
