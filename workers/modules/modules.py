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

from trials.modules.positions import Layout, OpLayout
from trials.modules.sites import SOFT_TOKENS, Site
from workers.backbone.load import FUSED, Backbone, find_module
from workers.modules import soft_tokens
from workers.modules.operations import add, concat, plug


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
class _Layer:
    """A touched layer, and what is bound to it for the next forward passes.

    Args:
        width: of its output.
        columns: of a fused layer, where each site's output lies, by site index.
        start: first column of the add plane, -1: no add here.
        bias: [K, width], None: no add here in any active slice.
        components: of ``concat``, by active slice; a slice without any is left out.
        units: of ``plug``, [m, d + 1 + d], likewise.
    """

    module: nn.Module
    width: int
    columns: dict[int, Tensor] = field(default_factory=dict)
    start: int = -1
    bias: Tensor | None = None
    components: dict[int, concat.Components] = field(default_factory=dict)
    units: dict[int, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class _UnitRows:
    """Where the rows of one operation on one site lie in a trial's θ.

    Args:
        piece: number of θ's piece that holds the complete ones, [n · width]; None: there are none.
        cut: the piece that holds a cut one [m], the order of its scalars [m], its initial row [width].
    """

    op: str
    site: Site
    piece: int | None
    width: int
    scale: float
    cut: tuple[int, Tensor, Tensor] | None = None


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
        self._sizes: list[
            list[int]
        ] = []  # lengths of θ's pieces: the scalars of add, the groups and cuts of the others
        self._adds: list[list[tuple[int, np.ndarray]]] = []  # site index and coordinates; they are θ's first piece
        self._rows: list[list[_UnitRows]] = []
        for layout in layouts:
            self._place(backbone, layout)
        self._lay_out_plane()
        self._prompts: list[Tensor | None] = []
        self._handles = [x.module.register_forward_hook(self._hook(x)) for x in self._layers.values()]

    def _touch(self, backbone: Backbone, site: Site) -> None:
        """Note the layer behind a site; soft tokens stand at none."""
        if site.kind != SOFT_TOKENS and site.index not in self._site_layer:
            module, columns = find_module(backbone, site)
            width = site.d_out if columns is None else len(FUSED) * site.d_out
            layer = self._layers.setdefault(id(module), _Layer(module, width))
            if columns is not None:
                layer.columns[site.index] = columns.to(self._device)
            self._site_layer[site.index] = layer

    def _place(self, backbone: Backbone, layout: Layout) -> None:
        """Note where every scalar of one trial's θ goes."""
        for site in layout.touched():
            self._touch(backbone, site)
        sizes: list[int] = []
        rows: list[_UnitRows] = []
        added: list[tuple[int, np.ndarray]] = []
        for op in layout.ops:
            if op.op == "add":
                added = [(g.site.index, g.units) for g in op.groups]
                sizes.append(op.count)
                continue
            places: dict[int, _UnitRows] = {}
            for group in op.groups:
                width = _width(op, group.site)
                places[group.site.index] = _UnitRows(op.op, group.site, len(sizes), width, op.scale)
                sizes.append(len(group.units) * width)
            if op.cut is not None:
                site = op.cut.site
                order = torch.as_tensor(op.cut.order).to(self._device)
                cut = (len(sizes), order, torch.from_numpy(op.cut.row).to(self._device))
                whole = places.get(site.index)
                piece = None if whole is None else whole.piece
                places[site.index] = _UnitRows(op.op, site, piece, _width(op, site), op.scale, cut)
                sizes.append(len(order))
            rows += places.values()
        assert sum(sizes) == layout.count, f"placed {sum(sizes)} of {layout.count} scalars"
        self._sizes.append(sizes)
        self._adds.append(added)
        self._rows.append(rows)

    def _lay_out_plane(self) -> None:
        """Give every layer that an ``add`` touches its columns of the plane, and every scalar its column."""
        touched = {id(self._site_layer[site]) for added in self._adds for site, _ in added}
        self._plane_layers = [layer for layer in self._layers.values() if id(layer) in touched]
        width = 0
        for layer in self._plane_layers:
            layer.start = width
            width += layer.width
        self._columns: list[Tensor] = []
        for added in self._adds:
            columns = [self._plane_columns(site, units) for site, units in added]
            self._columns.append(
                torch.cat(columns) if columns else torch.zeros(0, dtype=torch.int64, device=self._device)
            )

    def _plane_columns(self, site: int, units: np.ndarray) -> Tensor:
        layer = self._site_layer[site]
        coordinates = torch.as_tensor(units, dtype=torch.int64).to(self._device)
        columns = layer.columns.get(site)
        return layer.start + (coordinates if columns is None else columns[coordinates])

    def bind(self) -> None:
        """Take the active θ's as they are now into the next forward passes. Call it after every change of θ.

        θ is split once: backward of a slice of it would make a gradient of θ's full length, for every site anew.
        """
        self._unbind()
        pieces_K = [torch.split(self.thetas[k], self._sizes[k]) for k in self.active]
        columns = [self._columns[k] for k in self.active]
        if any(len(x) for x in columns):
            values = [pieces[0][: len(x)] for pieces, x in zip(pieces_K, columns, strict=True)]
            rows = torch.cat([torch.full_like(x, i) for i, x in enumerate(columns)])
            widths = [layer.width for layer in self._plane_layers]
            plane = add.plane(values, rows, torch.cat(columns), sum(widths))
            for layer, bias in zip(self._plane_layers, torch.split(plane, widths, dim=1), strict=True):
                layer.bias = bias
        for i, k in enumerate(self.active):
            for place in self._rows[k]:
                self._bind_rows(i, place, _rows(pieces_K[i], place))

    def _bind_rows(self, i: int, place: _UnitRows, rows: Tensor) -> None:
        """Put the rows of one operation on one site of slice ``i`` where the forward pass reads them."""
        site = place.site
        if site.kind == SOFT_TOKENS:
            self._prompts[i] = rows
            return
        layer = self._site_layer[site.index]
        if place.op == "plug":
            layer.units[i] = rows
            return
        out, in_ = torch.split(rows, [site.d_out, site.d_in], dim=1)
        if site.index in layer.columns:  # zeros for the layer's other sites: one product for all of them
            out = out.new_zeros(len(out), layer.width).index_copy(1, layer.columns[site.index], out)
        layer.components.setdefault(i, concat.Components(place.scale)).sides.append((out, in_))

    def _unbind(self) -> None:
        self._prompts = [None] * len(self.active)
        for layer in self._layers.values():
            layer.bias, layer.components, layer.units = None, {}, {}

    def prompts(self) -> list[Tensor | None]:
        """The soft tokens of each active slice as bound, [n, d_model], None where it has none."""
        return self._prompts

    def _hook(self, layer: _Layer) -> Any:
        def correct(module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
            return self._correct(layer, args[0], out)

        return correct

    def _correct(self, layer: _Layer, x: Tensor, out: Tensor) -> Tensor:
        """``out`` [K·b, s, width] with the corrections of all slices.

        ``plug`` comes first: it reads ``out`` and gives a new tensor; the others write into what they get.
        """
        y, k = out, len(self.active)
        if layer.units:
            f_K = by_slice(out, k).unbind(0) if k > 1 else (out,)  # one alone: backward would copy it
            y_K = [plug.onto(f, layer.units[i]) if i in layer.units else f for i, f in enumerate(f_K)]
            y = torch.cat(y_K) if k > 1 else y_K[0]
        if layer.components:
            y = concat.onto(y, x, k, layer.components)
        return y if layer.bias is None else add.onto(y, layer.bias)

    def close(self) -> None:
        """Take the hooks off: the backbone is as it was."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._unbind()


def by_slice(x: Tensor, k: int) -> Tensor:
    """[K·b, …] → [K, b, …]."""
    return x.view(k, -1, *x.shape[1:])


def _rows(pieces: Sequence[Tensor], place: _UnitRows) -> Tensor:
    """The [r, width] rows of one operation on one site; the cut unit's frozen tail is appended."""
    whole = None if place.piece is None else pieces[place.piece].view(-1, place.width)
    if place.cut is None:
        assert whole is not None, "a site has complete rows or a cut one"
        return whole
    piece, order, initial = place.cut
    cut = initial.index_put((order,), pieces[piece])[None]
    return cut if whole is None else torch.cat([whole, cut])
