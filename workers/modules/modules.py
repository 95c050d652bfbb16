"""The tunable modules of a pack on one frozen backbone: one flat θ a trial, one forward hook a touched layer.

A batch holds K slices of b rows, [K·b, s, d]; slice k is corrected by trial k's θ alone, so the gradients of
different trials never mix. All code is written for K slices; a trial alone is K = 1 (docs/modules.md).

Layout of θ: the operations in the order of ``OPERATIONS``; of each the complete units, site by site, a unit a row
[output side | input side] in natural coordinate order; last the cut unit's trained scalars in their seeded order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trials.modules.counts import unit_size
from trials.modules.positions import Layout
from trials.modules.sites import SOFT_TOKENS, Site
from workers.backbone.load import FUSED, Backbone, find_module, stacks
from workers.modules import soft_tokens
from workers.modules.corrections import Layer
from workers.modules.operations import OPERATIONS
from workers.modules.sharing import Place, lowest


def initial_theta(layout: Layout) -> np.ndarray:
    """θ at step 0, float32 [count]: output sides zero, input sides as drawn by the layout.

    The module starts as the identity, bitwise.
    """
    parts: list[np.ndarray] = []
    for op in layout.ops:
        for group in op.groups:
            n, n_in = group.init.shape
            out = np.zeros((n, unit_size(op.op, group.site) - n_in), np.float32)
            parts.append(np.concatenate([out, group.init], axis=1).ravel())
        if op.cut is not None:
            parts.append(op.cut.row[op.cut.order])
    theta = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    assert theta.dtype == np.float32
    assert len(theta) == layout.count, f"θ has {len(theta)} scalars, the layout {layout.count}"
    return theta


class Modules:
    """K modules on one backbone.

    Args:
        backbone: the frozen backbone.
        layouts: one per trial.

    Attributes:
        thetas: one float32 parameter per trial, [count] each.
        active: the slices of the next forward pass, as indices into ``thetas``.
        stacks: the backbone's, in the order of the forward pass.
    """

    def __init__(self, backbone: Backbone, layouts: Sequence[Layout]) -> None:
        device = next(backbone.model.parameters()).device
        layouts = [soft_tokens.embedded(x, backbone) for x in layouts]
        self.thetas = nn.ParameterList(nn.Parameter(torch.from_numpy(initial_theta(x)).to(device)) for x in layouts)
        self.active = list(range(len(layouts)))
        self.stacks = list(stacks(backbone).values())
        self._lowest = [lowest(x, backbone.ref.family) for x in layouts]
        layers = _layers(backbone, layouts, device)
        parts = [{op.op: op for op in layout.ops} for layout in layouts]
        self._operations = [
            made([part.get(name) for part in parts], layers, device)
            for name, made in OPERATIONS.items()
            if any(name in part for part in parts)
        ]
        # Backwards, as it has always been: the order of a sum decides its last bit. Readers of the output come first.
        backwards = self._operations[::-1]
        self._in_turn = sorted(backwards, key=lambda operation: not operation.reads_output)
        self._sizes = [[operation.sizes(k) for operation in self._operations] for k in self.active]
        for layout, sizes in zip(layouts, self._sizes, strict=True):
            placed = sum(map(sum, sizes))
            assert placed == layout.count, f"placed {placed} of {layout.count} scalars"
        self._handles = [x.module.register_forward_hook(self._hook(x)) for x in dict.fromkeys(layers.values())]

    @property
    def lowest(self) -> Place:
        """The lowest place that an active slice touches."""
        return min(self._lowest[k] for k in self.active)

    def bind(self) -> None:
        """Take the active θ's as they are now into the next forward passes. Call it after every change of θ.

        θ is split once: backward of a slice of it would make a gradient of θ's full length, for every site anew.
        """
        pieces_K = [self._split(k) for k in self.active]
        for n, operation in enumerate(self._operations):
            operation.bind(self.active, [pieces[n] for pieces in pieces_K])

    def _split(self, k: int) -> list[list[Tensor]]:
        """θ of one trial in pieces, by operation."""
        pieces = iter(torch.split(self.thetas[k], [size for sizes in self._sizes[k] for size in sizes]))
        return [[next(pieces) for _ in sizes] for sizes in self._sizes[k]]

    def prompts(self) -> list[Tensor | None]:
        """The soft tokens of each active slice as bound, [n, d_model], None where it has none."""
        found = {i: rows for operation in self._operations for i, rows in operation.prompts().items()}
        return [found.get(i) for i in range(len(self.active))]

    def _hook(self, layer: Layer) -> Any:
        def correct(module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
            y = out
            for operation in self._in_turn:
                y = operation.onto(layer, y, args[0], out)
            return y

        return correct

    def close(self) -> None:
        """Take the hooks off: the backbone is as it was."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        for operation in self._operations:
            operation.clear()


def _layers(backbone: Backbone, layouts: Sequence[Layout], device: torch.device) -> dict[int, Layer]:
    """The layers behind every touched site, by the site's index; soft tokens stand at none."""
    by_module: dict[int, Layer] = {}
    found: dict[int, Layer] = {}
    for site in (site for layout in layouts for site in layout.touched()):
        if site.kind != SOFT_TOKENS and site.index not in found:
            found[site.index] = _layer(backbone, site, by_module, device)
    return found


def _layer(backbone: Backbone, site: Site, by_module: dict[int, Layer], device: torch.device) -> Layer:
    """The layer of a site: sites of a fused one share it."""
    module, columns = find_module(backbone, site)
    width = site.d_out if columns is None else len(FUSED) * site.d_out
    layer = by_module.setdefault(id(module), Layer(module, width))
    if columns is not None:
        layer.columns[site.index] = columns.to(device)
    return layer
