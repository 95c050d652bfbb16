"""What our modules are measured against: the same function in PEFT, on real biases, or in torch's own layers.

``tests/workers/modules/test_references.py`` holds each of them equal to ours (outputs, gradients, steps of AdamW), so
that ``benchmarks/modules.py`` compares the speed of equal things.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import peft
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from trials.modules.positions import Layout, OpLayout
from trials.modules.sites import Site
from workers.backbone.load import find_module

Scalars = tuple[nn.Parameter, Tensor]  # a tensor, and which of its scalars, as flat int64 indices
SELF_ATTENTION = {
    "bert": r".*\.attention\.self\.(query|value)",
    "bloom": r".*\.query_key_value",  # query, key and value in one: see lora()
    "t5": r".*\.SelfAttention\.(q|v)",  # ["q", "v"] would take cross-attention too
}


class Opponent:
    """A model with tensors of its own in it, and where in them the scalars of a θ of ours lie.

    Attributes:
        parameters: what trains; it may hold more scalars than θ (structural zeros, a cut unit's frozen side).
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.parameters: list[nn.Parameter] = []
        self.pieces: list[Scalars] = []  # in the order of θ
        self._start: dict[nn.Parameter, Tensor] = {}  # what a real bias is before θ adds to it

    def train(self, *parameters: nn.Parameter) -> None:
        """Let these tensors train."""
        for p in parameters:
            p.requires_grad_(True)
            self.parameters.append(p)
            self._start[p] = p.detach().clone().flatten()

    @torch.no_grad()
    def put(self, theta: Tensor) -> None:
        """Take the values of a θ [count]."""
        pieces = theta.split([len(at) for _, at in self.pieces])
        for (p, at), values in zip(self.pieces, pieces, strict=True):
            p.view(-1)[at] = self._start[p][at] + values

    def values(self) -> Tensor:
        """Our θ [count], read from the tensors."""
        return torch.cat([p.detach().view(-1)[at] - self._start[p][at] for p, at in self.pieces])

    def gradient(self) -> Tensor:
        """Our θ's gradient [count], read from the tensors."""
        return torch.cat([p.grad.view(-1)[at] for p, at in self.pieces if p.grad is not None])

    def freeze_the_rest(self) -> None:
        """No gradient for scalars that θ doesn't have."""
        kept = {p: torch.zeros(p.numel(), dtype=torch.bool) for p in self.parameters}
        for p, at in self.pieces:
            kept[p][at] = True
        for p, mine in kept.items():
            if p.grad is not None:
                p.grad.view(-1)[~mine] = 0.0


def lora(backbone: Any, layout: Layout, rank: int, alpha: float) -> Opponent:
    """PEFT's LoRA on query and value of self-attention; it changes the model in place.

    BLOOM's query and value are parts of one layer, and PEFT puts one pair of matrices on it: rank 2r, the first r
    for the query and the others for the value, with zeros elsewhere in the output matrix.
    """
    fused = backbone.ref.family == "bloom"
    config = peft.LoraConfig(
        r=(2 if fused else 1) * rank,
        lora_alpha=int((2 if fused else 1) * alpha),
        target_modules=SELF_ATTENTION[backbone.ref.family],
    )
    peft.inject_adapter_in_model(config, backbone.model)
    opponent = Opponent(layout)
    for group in layout.ops[0].groups:
        layer: Any = find_module(backbone, group.site)[0]
        a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        columns = find_module(backbone, group.site)[1]
        first = rank if fused and group.site.kind == "v" else 0
        if group.site.kind == "q" or not fused:
            nn.init.zeros_(a)
            nn.init.zeros_(b)
            opponent.train(a, b)
        for j in range(first, first + rank):
            opponent.pieces += [(b, _column(b, j, columns)), (a, _row(a, j))]
    return opponent


def peft_lora(backbone: Any, layout: Layout, rank: int) -> Opponent:
    """PEFT's LoRA as its users write it, α = 2 · rank: on BLOOM one pair of matrices on the fused layer."""
    config = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=SELF_ATTENTION[backbone.ref.family])
    peft.inject_adapter_in_model(config, backbone.model)
    opponent = Opponent(layout)
    opponent.train(*(p for p in backbone.model.parameters() if p.requires_grad))
    return opponent


def prompt(backbone: Any, layout: Layout, tokens: int) -> Opponent:
    """PEFT's prompt tuning: on the stack below the language-model head, T5: on its encoder's inputs."""
    family = backbone.ref.family
    config = peft.PromptTuningConfig(
        task_type="SEQ_2_SEQ_LM" if family == "t5" else "FEATURE_EXTRACTION",
        num_virtual_tokens=tokens,
        num_transformer_submodules=1,
        token_dim=backbone.ref.shape.d_model,
    )
    if family == "t5":
        wrapped = backbone.model = peft.get_peft_model(backbone.model, config)
    else:
        stack = {"bert": "bert", "bloom": "transformer"}[family]
        wrapped = peft.get_peft_model(getattr(backbone.model, stack), config)
        setattr(backbone.model, stack, _TextOnly(wrapped, tokens))
    weight = wrapped.prompt_encoder["default"].embedding.weight
    nn.init.zeros_(weight)
    opponent = Opponent(layout)
    opponent.train(weight)
    opponent.pieces.append((weight, torch.arange(weight.numel())))
    return opponent


class _TextOnly(nn.Module):
    """A stack whose outputs at the soft tokens aren't read."""

    def __init__(self, stack: nn.Module, tokens: int) -> None:
        super().__init__()
        self.stack = stack
        self.tokens = tokens

    def forward(self, **inputs: Tensor) -> Any:
        """The stack's output for the text alone."""
        out = self.stack(**inputs)
        out.last_hidden_state = out.last_hidden_state[:, self.tokens :]
        return out


def biases(backbone: Any, layout: Layout) -> Opponent:
    """``requires_grad`` on the biases of every site that ``add`` touches; a linear layer without one gets zeros."""
    opponent = Opponent(layout)
    for group in layout.ops[0].groups:
        module, columns = find_module(backbone, group.site)
        bias = getattr(module, "bias", None)
        if bias is None:
            assert isinstance(module, nn.Linear), f"{group.site.name}: no place for a bias"
            bias = module.bias = nn.Parameter(torch.zeros(module.out_features))
        if not any(bias is p for p in opponent.parameters):  # a fused layer has three sites
            opponent.train(bias)
        units = torch.from_numpy(group.units)
        opponent.pieces.append((bias, units if columns is None else columns[units]))
    return opponent


class Plain(nn.Module):
    """One site's correction by its definition: a bias, rank-1 components of the input, a bottleneck on the output."""

    def __init__(self, site: Site, bias: bool, rank: int, bottleneck: int, scale: float) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(site.d_out)) if bias else None
        self.low_rank = (
            nn.Sequential(nn.Linear(site.d_in, rank, bias=False), nn.Linear(rank, site.d_out, bias=False))
            if rank
            else None
        )
        self.down = nn.Linear(site.d_out, bottleneck) if bottleneck else None
        self.up = nn.Linear(bottleneck, site.d_out, bias=False) if bottleneck else None
        if self.up is not None and self.bias is not None:
            self.up.bias, self.bias = self.bias, None  # an adapter as people write it: two layers with biases
        self.scale = scale

    def forward(self, x: Tensor, f: Tensor) -> Tensor:
        """The correction of ``f`` = layer(``x``)."""
        deltas = []
        if self.bias is not None:
            deltas.append(self.bias)
        if self.low_rank is not None:
            deltas.append(self.low_rank(x) * self.scale)
        if self.down is not None and self.up is not None:
            deltas.append(self.up(gelu(self.down(f))))
        return sum(deltas[1:], deltas[0])

    def row(self, op: str, j: int) -> list[Scalars]:
        """Where the scalars of unit ``j`` lie, output side first, as a row of θ."""
        if op == "concat":
            assert self.low_rank is not None
            a, b = self.low_rank[0].weight, self.low_rank[1].weight
            return [(b, _column(b, j)), (a, _row(a, j))]
        assert self.down is not None
        assert self.up is not None
        c = (self.down.bias, torch.tensor([j]))
        return [(self.up.weight, _column(self.up.weight, j)), c, (self.down.weight, _row(self.down.weight, j))]


def plain(backbone: Any, layout: Layout) -> Opponent:
    """Any module of ours as layers of torch, one :class:`Plain` a site, in a forward hook; a cut unit is whole."""
    opponent = Opponent(layout)
    by_site: dict[int, Plain] = {}
    for site in layout.touched():
        sizes = {op.op: _units(op, site) for op in layout.ops}
        scale = next((op.scale for op in layout.ops if op.op == "concat"), 1.0)
        made = Plain(site, bool(sizes.get("add")), sizes.get("concat", 0), sizes.get("plug", 0), scale)
        for p in made.parameters():
            nn.init.zeros_(p)
        by_site[site.index] = made
        module, columns = find_module(backbone, site)
        module.register_forward_hook(_adding(made, columns))
        opponent.train(*made.parameters())
    for op in layout.ops:
        opponent.pieces += _pieces(op, by_site)
    return opponent


def _adding(plain_site: Plain, columns: Tensor | None) -> Any:
    def hook(module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
        if columns is None:
            return out + plain_site(args[0], out)
        correction = plain_site(args[0], out).expand(*out.shape[:-1], len(columns))
        return out.index_add(-1, columns, correction)

    return hook


def _units(op: OpLayout, site: Site) -> int:
    return sum(len(g.units) for g in op.groups if g.site == site) + int(op.cut is not None and op.cut.site == site)


def _pieces(op: OpLayout, by_site: dict[int, Plain]) -> Iterator[Scalars]:
    for group in op.groups:
        here = by_site[group.site.index]
        if op.op == "add":
            bias = here.bias if here.bias is not None else here.up.bias if here.up is not None else None
            assert bias is not None
            yield bias, torch.from_numpy(group.units)
            continue
        for j in range(len(group.units)):
            yield from here.row(op.op, j)
    if op.cut is not None:
        yield from _cut_pieces(op, by_site[op.cut.site.index])


def _cut_pieces(op: OpLayout, here: Plain) -> Iterator[Scalars]:
    """The trained scalars of the last unit of a site, in their seeded order; the others get their initial values."""
    assert op.cut is not None
    first = 0
    for p, at in here.row(op.op, _units(op, op.cut.site) - 1):
        end = first + len(at)
        with torch.no_grad():
            p.view(-1)[at] = torch.from_numpy(op.cut.row[first:end])
        mine = op.cut.order[(op.cut.order >= first) & (op.cut.order < end)]
        yield p, at[torch.from_numpy(np.asarray(mine - first))]
        first = end


def _row(weight: Tensor, j: int) -> Tensor:
    """Flat indices of row ``j`` of a matrix."""
    return torch.arange(weight.shape[1]) + j * weight.shape[1]


def _column(weight: Tensor, j: int, rows: Tensor | None = None) -> Tensor:
    """Flat indices of column ``j`` of a matrix, or of some of its rows."""
    return (torch.arange(weight.shape[0]) if rows is None else rows) * weight.shape[1] + j
