"""The tunable modules of a pack on one frozen backbone: one flat θ a trial, one forward hook a touched layer.

A batch holds K slices of b rows, [K·b, s, d]; slice k is corrected by trial k's θ alone, so the gradients of
different trials never mix. All code is written for K slices; a trial alone is K = 1 (MODULES.md, section 4).

Layout of θ: the operations in the order add, concat, plug; of each the complete units, site by site, a unit a row
[output side | input side] in natural coordinate order; last the cut unit's trained scalars in their seeded order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trials.positions import Layout, OpLayout
from trials.sites import SOFT_TOKENS, Site
from workers import soft_tokens
from workers.backbone import FUSED, Backbone, find_module
from workers.operations import add, concat, plug


def initial_theta(layout: Layout) -> np.ndarray:
    """θ at step 0, float32 [count]: output sides, ``c`` and ``add`` zero, input sides as drawn by the layout.

    The module starts as the identity, bitwise.
    """
    parts: list[np.ndarray] = []
    for op in layout.ops:
        for group in op.groups:
            n, n_in = group.init.shape
            out = np.zeros((n, _width(op, group.site) - n_in), np.float32)
            parts.append(np.concatenate([out, group.init], axis=1).ravel())
        if op.cut is not None:
            parts.append(op.cut.row[op.cut.order])
    theta = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    assert theta.dtype == np.float32
    assert len(theta) == layout.count, f"θ has {len(theta)} scalars, the layout {layout.count}"
    return theta


def _width(op: OpLayout, site: Site) -> int:
    """Scalars of a unit of ``op`` on ``site``."""
    return {"add": 1, "concat": site.d_out + site.d_in, "plug": 2 * site.d_out + 1}[op.op]


@dataclass
class _Part:
    """The share of one site in a touched layer; ``columns`` places it in a fused layer's output."""

    d_out: int
    columns: Tensor | None


@dataclass
class _Layer:
    """A touched layer: where its columns of the add plane begin, and its sites."""

    module: nn.Module
    width: int
    start: int = -1  # first column of the add plane, -1: no add here
    parts: dict[int, _Part] = field(default_factory=dict)  # by site index


@dataclass(frozen=True)
class _Rows:
    """Where the rows of one operation on one site lie in a trial's θ: ``n`` complete ones, then maybe a cut one."""

    op: str
    site: int
    offset: int
    n: int
    width: int
    scale: float
    cut: tuple[int, Tensor, Tensor] | None = None  # offset in θ, order [m], initial row [width]


class Modules:
    """K modules on one backbone.

    Args:
        backbone: the frozen backbone.
        layouts: one per trial.

    Attributes:
        thetas: one float32 parameter per trial, [count] each.
        active: the slices of the next forward pass, as indices into ``thetas``.
    """

    def __init__(self, backbone: Backbone, layouts: Sequence[Layout]) -> None:
        self._device = next(backbone.model.parameters()).device
        layouts = [soft_tokens.embedded(x, backbone) for x in layouts]
        self._layers: dict[int, _Layer] = {}
        self._site_layer: dict[int, _Layer] = {}
        self.thetas = nn.ParameterList(
            nn.Parameter(torch.from_numpy(initial_theta(x)).to(self._device)) for x in layouts
        )
        self.active = list(range(len(layouts)))
        self._adds: list[tuple[int, np.ndarray, list[tuple[int, np.ndarray]]]] = []
        self._rows: list[list[_Rows]] = []
        for layout in layouts:
            self._place(backbone, layout)
        self._lay_out_plane()
        self._plane: Tensor | None = None
        self._bound: dict[tuple[str, int], list[tuple[Tensor, float] | None]] = {}
        self._handles = [x.module.register_forward_hook(self._hook(x)) for x in self._layers.values()]

    def _touch(self, backbone: Backbone, site: Site) -> None:
        """Note the layer behind a site; soft tokens stand at none."""
        if site.kind != SOFT_TOKENS and site.index not in self._site_layer:
            module, columns = find_module(backbone, site)
            width = site.d_out if columns is None else len(FUSED) * site.d_out
            layer = self._layers.setdefault(id(module), _Layer(module, width))
            layer.parts[site.index] = _Part(site.d_out, None if columns is None else columns.to(self._device))
            self._site_layer[site.index] = layer

    def _place(self, backbone: Backbone, layout: Layout) -> None:
        """Note where every scalar of one trial's θ goes."""
        offset = 0
        rows: list[_Rows] = []
        added: tuple[int, np.ndarray, list[tuple[int, np.ndarray]]] = (0, np.zeros(0, np.int64), [])
        for op in layout.ops:
            if op.op == "add":
                for group in op.groups:
                    self._touch(backbone, group.site)
                added = (offset, np.zeros(0), [(g.site.index, g.units) for g in op.groups])
                offset += op.count
                continue
            places: dict[int, _Rows] = {}
            for group in op.groups:
                self._touch(backbone, group.site)
                width = _width(op, group.site)
                n = len(group.units)
                places[group.site.index] = _Rows(op.op, group.site.index, offset, n, width, op.scale)
                offset += n * width
            if op.cut is not None:
                site, width = op.cut.site, _width(op, op.cut.site)
                self._touch(backbone, site)
                cut = (
                    offset,
                    torch.as_tensor(op.cut.order).to(self._device),
                    torch.from_numpy(op.cut.row).to(self._device),
                )
                whole = places.get(site.index)
                at, n = (whole.offset, whole.n) if whole else (offset, 0)
                places[site.index] = _Rows(op.op, site.index, at, n, width, op.scale, cut)
                offset += len(op.cut.order)
            rows += places.values()
        assert offset == layout.count, f"placed {offset} of {layout.count} scalars"
        self._adds.append(added)
        self._rows.append(rows)

    def _lay_out_plane(self) -> None:
        """Give every layer that an ``add`` touches its columns of the plane, and every scalar its column."""
        touched = {site for _, _, groups in self._adds for site, _ in groups}
        width = 0
        for layer in self._layers.values():
            if touched & layer.parts.keys():
                layer.start = width
                width += layer.width
        self._plane_width = width
        self._columns: list[Tensor] = []
        for _, _, groups in self._adds:
            columns = [self._plane_columns(site, units) for site, units in groups]
            self._columns.append(
                torch.cat(columns) if columns else torch.zeros(0, dtype=torch.int64, device=self._device)
            )

    def _plane_columns(self, site: int, units: np.ndarray) -> Tensor:
        layer = self._site_layer[site]
        coordinates = torch.as_tensor(units, dtype=torch.int64).to(self._device)
        columns = layer.parts[site].columns
        return layer.start + (coordinates if columns is None else columns[coordinates])

    def bind(self) -> None:
        """Take the active θ's as they are now into the next forward passes. Call it after every change of θ."""
        slices = self.active
        self._plane = None
        if any(len(self._columns[k]) for k in slices):
            values = [self.thetas[k][self._adds[k][0] : self._adds[k][0] + len(self._columns[k])] for k in slices]
            rows = torch.cat([torch.full_like(self._columns[k], i) for i, k in enumerate(slices)])
            self._plane = add.plane(values, rows, torch.cat([self._columns[k] for k in slices]), self._plane_width)
        self._bound = {}
        for i, k in enumerate(slices):
            for place in self._rows[k]:
                at = self._bound.setdefault((place.op, place.site), [None] * len(slices))
                at[i] = (_rows(self.thetas[k], place), place.scale)

    def prompts(self) -> list[Tensor | None]:
        """The soft tokens of each active slice as bound, [n, d_model], None where it has none."""
        found = self._bound.get(soft_tokens.SITE, [None] * len(self.active))
        return [bound and bound[0] for bound in found]

    def _hook(self, layer: _Layer) -> Any:
        def correct(module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor | None:
            return self._correct(layer, args[0], out)

        return correct

    def _correct(self, layer: _Layer, x: Tensor, out: Tensor) -> Tensor | None:
        """``out`` [K·b, s, width] with the corrections of all slices."""
        y = out
        k = len(self.active)
        if self._plane is not None and layer.start >= 0:
            bias_Kw = self._plane[:, layer.start : layer.start + layer.width].to(out.dtype)
            y = (by_slice(y, k) + bias_Kw[:, None, None]).flatten(0, 1)
        if not any((op, site) in self._bound for op in ("concat", "plug") for site in layer.parts):
            return y
        x_K, f_K, y_K = (by_slice(t, k).unbind(0) for t in (x, out, y))
        return torch.cat([self._corrected_slice(layer, i, x_K[i], f_K[i], y_K[i]) for i in range(k)])

    def _corrected_slice(self, layer: _Layer, i: int, x: Tensor, f: Tensor, y: Tensor) -> Tensor:
        """One slice: a plain sum of products, so that it is bitwise what it is alone."""
        deltas: dict[int, Tensor] = {}
        for site, part in layer.parts.items():
            for op in ("concat", "plug"):
                bound = self._bound.get((op, site), [None] * len(self.active))[i]
                if bound is None:
                    continue
                rows, scale = bound
                delta = concat.delta(x, rows, part.d_out, scale) if op == "concat" else plug.delta(f, rows)
                deltas[site] = deltas[site] + delta if site in deltas else delta
        if not deltas:
            return y
        if len(deltas) == 1 and next(iter(layer.parts.values())).columns is None:
            return y + next(iter(deltas.values()))
        return y + _fused(layer, deltas, y)

    def close(self) -> None:
        """Take the hooks off: the backbone is as it was."""
        for handle in self._handles:
            handle.remove()
        self._handles, self._bound, self._plane = [], {}, None


def by_slice(x: Tensor, k: int) -> Tensor:
    """[K·b, …] → [K, b, …]."""
    return x.view(k, -1, *x.shape[1:])


def _rows(theta: Tensor, place: _Rows) -> Tensor:
    """The [r, width] rows of one operation on one site; the cut unit's frozen tail is appended."""
    whole = theta[place.offset : place.offset + place.n * place.width].view(place.n, place.width)
    if place.cut is None:
        return whole
    offset, order, initial = place.cut
    cut = initial.index_put((order,), theta[offset : offset + len(order)])[None]
    return torch.cat([whole, cut]) if place.n else cut


def _fused(layer: _Layer, deltas: dict[int, Tensor], y: Tensor) -> Tensor:
    """Deltas of the parts of a fused layer, put where the parts' columns are (BLOOM interleaves them by head)."""
    delta = torch.zeros_like(y)
    for site, value in deltas.items():
        columns = layer.parts[site].columns
        assert columns is not None, "several sites on one layer: each has its columns"
        delta = delta.index_copy(-1, columns, value)
    return delta
