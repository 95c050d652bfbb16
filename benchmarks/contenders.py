"""What the benchmark of the modules times: a model of random weights with something that trains in it, step by step."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from opponents import Opponent
from torch import Tensor, nn

from trials.modules.counts import unit_size
from trials.modules.positions import Layout
from trials.modules.sites import SOFT_TOKENS
from trials.trial import BackboneRef, Shape, Source
from workers.backbone import weights
from workers.backbone.load import Backbone, blocks, find_module
from workers.engines.engine import Group
from workers.engines.plain import PlainEngine
from workers.modules.model import PackModel
from workers.modules.modules import Modules

SHAPES = {  # the layers of BERT-base, BLOOM-560M and T5-base, fewer of them and a small vocabulary
    "bert": Shape(3, 0, 768, 3072, 12, 64, vocab=2048, positions=512, lm_head=True),
    "bloom": Shape(2, 0, 1024, 4096, 16, 64, vocab=2048, positions=0, lm_head=True),
    "t5": Shape(2, 2, 768, 2048, 12, 64, vocab=2048, positions=0, lm_head=True),
}
TALL = Shape(12, 0, 384, 1536, 6, 64, vocab=2048, positions=512, lm_head=True)  # 12 blocks, in T5 of each stack
RATE = 1e-4


def backbone_of(family: str, shape: Shape, device: str) -> Backbone:
    """A frozen backbone of random weights, 20 million or more."""
    ref = BackboneRef(f"bench-{family}", family, "bench", shape, Source("random", "bench", "1"))
    model = weights._empty(ref)
    weights._fill(model, ref)
    model.eval().requires_grad_(False).to(device)
    parameters = sum(p.numel() for p in model.parameters())
    assert parameters >= 20_000_000
    return Backbone(ref, model, None, parameters, "", f"random:{ref.name}", 0.0)


def another(backbone: Backbone) -> Backbone:
    """The same backbone once more: matrices shared, so that nobody's lie better in the cache."""
    memo = {id(p): p for p in backbone.model.parameters() if p.dim() > 1}
    return replace(backbone, model=copy.deepcopy(backbone.model, memo))


def only_block(layout: Layout, stack: str, block: int) -> Layout:
    """The complete units of a module that stand in one block."""
    ops = []
    for op in layout.ops:
        groups = tuple(g for g in op.groups if (g.site.stack, g.site.block) == (stack, block))
        count = sum(len(g.units) * unit_size(op.op, g.site) for g in groups)
        ops.append(replace(op, groups=groups, count=count, cut=None))
    return Layout(tuple(ops))


def batch_of(family: str, rows: int, length: int, device: str) -> dict[str, Tensor]:
    """Random tokens: encoders predict a label at a mask, the others a few target tokens."""
    torch.manual_seed(0)
    ids = torch.randint(10, 2000, (rows, length), device=device)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if family == "bert":
        at = torch.zeros(rows, dtype=torch.int64, device=device)
        return {**batch, "class_labels": at, "mask_position": at}
    if family == "bloom":
        labels = ids.clone()
        labels[:, : length // 2] = -100
        return {**batch, "labels": labels}
    return {**batch, "labels": ids[:, : length // 4]}


class Contender:
    """A model and its optimiser; a call is one step."""

    def __init__(self, model: PackModel, batch: dict[str, Tensor], groups: Sequence[Sequence[nn.Parameter]]) -> None:
        self._batch = batch
        self._engine = PlainEngine(model, [Group(list(g), RATE) for g in groups]) if groups else None
        self._model = model

    def __call__(self) -> None:
        """Forward, backward and, where something trains, AdamW."""
        total = self._model(self._batch).sum()
        total.backward()
        if self._engine:
            self._engine.step()


def ours(backbone: Backbone, batch: dict[str, Tensor], layouts: Sequence[Layout]) -> Contender:
    """A pack of modules."""
    modules = Modules(backbone, layouts)
    return Contender(packed(backbone, modules), batch, [[theta] for theta in modules.thetas])


def theirs(backbone: Backbone, batch: dict[str, Tensor], opponent: Opponent) -> Contender:
    """The opponent, which stands in that backbone."""
    return Contender(packed(backbone, None), batch, [opponent.parameters])


def floor(backbone: Backbone, batch: dict[str, Tensor], layout: Layout) -> Contender:
    """The frozen model; see :func:`floor_model`."""
    return Contender(floor_model(backbone, layout), batch, [])


def floor_model(backbone: Backbone, layout: Layout) -> PackModel:
    """The frozen model; the output of a touched layer requires a gradient where nothing below it does."""
    if layout.touched()[0].kind == SOFT_TOKENS:
        modules = Modules(backbone, [layout])
        modules.thetas.requires_grad_(False)
        stack = "decoder" if backbone.ref.family == "bloom" else "encoder"
        first = blocks(backbone, stack)[0]
        first.register_forward_pre_hook(lambda module, args: (args[0].requires_grad_(), *args[1:]))
        return packed(backbone, modules)
    for site in layout.touched():
        find_module(backbone, site)[0].register_forward_hook(
            lambda module, args, out: out if out.requires_grad else out.requires_grad_()
        )
    return packed(backbone, None)


def packed(backbone: Backbone, modules: Modules | None) -> PackModel:
    """The model that computes losses, the same for all contenders."""
    return PackModel(backbone, modules, label_words=[11, 12] if backbone.ref.family == "bert" else None)
