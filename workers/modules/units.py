"""The two ways in which units are bound: rows of scalars, site by site, and single scalars, all in one plane."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trials.modules.counts import unit_size
from trials.modules.positions import OpLayout
from trials.modules.sites import SOFT_TOKENS, Site
from workers.modules.corrections import Layer, Operation


class Rows(Operation):
    """An operation whose unit is a row [output side | input side]; a subclass says what a layer does with them.

    Rows at the site ``soft_tokens`` go in front of the sequence, whichever operation has them.
    """

    def __init__(self, parts: Sequence[OpLayout | None], layers: Mapping[int, Layer], device: torch.device) -> None:
        self.k = 0  # slices that are bound
        self._layers = layers
        self._sizes = [[] if part is None else _sizes(part) for part in parts]
        self._placed = [[] if part is None else _placed(part, device) for part in parts]
        self._prompts: dict[int, Tensor] = {}

    @abstractmethod
    def put(self, i: int, layer: Layer, site: Site, rows: Tensor, scale: float) -> None:
        """Bind rows to a layer.

        Args:
            i: the slice.
            layer: that the site belongs to.
            site: where they sit.
            rows: [r, unit], each whole; of the one that trains in part the rest is as it started.
            scale: factor of the correction.
        """

    def sizes(self, trial: int) -> list[int]:
        """A piece for the complete units of every site, and one for the cut unit, the last."""
        return self._sizes[trial]

    def bind(self, active: Sequence[int], pieces_K: Sequence[Sequence[Tensor]]) -> None:
        """Site by site."""
        self.clear()
        self.k = len(active)
        for i, (trial, pieces) in enumerate(zip(active, pieces_K, strict=True)):
            for placed in self._placed[trial]:
                rows = placed.rows(pieces)
                if placed.site.kind == SOFT_TOKENS:
                    self._prompts[i] = rows
                else:
                    self.put(i, self._layers[placed.site.index], placed.site, rows, placed.scale)

    def clear(self) -> None:
        """Let go of what is bound."""
        self._prompts = {}

    def prompts(self) -> Mapping[int, Tensor]:
        """The soft tokens that are bound, by slice."""
        return self._prompts


@dataclass
class _Placed:
    """Where the rows of one site lie in a trial's part of θ.

    Args:
        piece: number of the piece that holds the complete ones, [n · width]; None: there are none.
        cut: the piece that holds a cut one [m], the order of its scalars [m], its initial row [width].
    """

    site: Site
    width: int
    scale: float
    piece: int | None = None
    cut: tuple[int, Tensor, Tensor] | None = None

    def rows(self, pieces: Sequence[Tensor]) -> Tensor:
        """The [r, width] rows; the cut unit's frozen tail is appended."""
        whole = None if self.piece is None else pieces[self.piece].view(-1, self.width)
        if self.cut is None:
            assert whole is not None, "a site has complete rows or a cut one"
            return whole
        piece, order, initial = self.cut
        cut = initial.index_put((order,), pieces[piece])[None]
        return cut if whole is None else torch.cat([whole, cut])


class Plane(Operation):
    """An operation whose unit is one scalar, which belongs to one coordinate of a layer's output.

    The scalars of all slices and layers go into one plane [K, Σ width] by one ``index_put``: a scatter a site costs
    three times as much.
    """

    def __init__(self, parts: Sequence[OpLayout | None], layers: Mapping[int, Layer], device: torch.device) -> None:
        groups = [[] if part is None else part.groups for part in parts]
        for part in parts:
            assert part is None or (part.cut is None and part.scale == 1), "a scalar is never cut, and has no factor"
        starts: dict[Layer, int] = {}  # first column of every layer
        width = 0
        for layer in [layers[group.site.index] for some in groups for group in some]:
            if layer not in starts:
                starts[layer] = width
                width += layer.width
        self._touched = list(starts)
        self._own = [{layers[group.site.index] for group in some} for some in groups]
        none = [torch.zeros(0, dtype=torch.int64, device=device)]
        self._columns: list[Tensor] = []  # of every trial's scalars, in θ's order
        for some in groups:
            found = []
            for group in some:
                layer = layers[group.site.index]
                coordinates = torch.as_tensor(group.units, dtype=torch.int64).to(device)
                columns = layer.columns.get(group.site.index)
                found.append(starts[layer] + (coordinates if columns is None else columns[coordinates]))
            self._columns.append(torch.cat(found or none))
        self.bound: dict[Layer, Tensor] = {}
        """[K, width] by layer, zero where nothing is placed; a layer where no slice has anything isn't there."""

    def sizes(self, trial: int) -> list[int]:
        """All in one piece."""
        return [len(self._columns[trial])]

    def bind(self, active: Sequence[int], pieces_K: Sequence[Sequence[Tensor]]) -> None:
        """All slices and layers at once."""
        self.clear()
        columns_K = [self._columns[trial] for trial in active]
        if not any(len(columns) for columns in columns_K):
            return
        values = torch.cat([piece for (piece,) in pieces_K])
        rows = torch.cat([torch.full_like(columns, i) for i, columns in enumerate(columns_K)])
        widths = [layer.width for layer in self._touched]
        empty = torch.zeros(len(active), sum(widths), dtype=values.dtype, device=values.device)
        plane = empty.index_put((rows, torch.cat(columns_K)), values)
        here = set().union(*(self._own[trial] for trial in active))
        parts = zip(self._touched, torch.split(plane, widths, dim=1), strict=True)
        self.bound = {layer: part for layer, part in parts if layer in here}

    def clear(self) -> None:
        """Let go of what is bound."""
        self.bound = {}


def _sizes(part: OpLayout) -> list[int]:
    """Scalars of each group, then of the cut unit."""
    sizes = [len(group.units) * unit_size(part.op, group.site) for group in part.groups]
    return sizes if part.cut is None else [*sizes, len(part.cut.order)]


def _placed(part: OpLayout, device: torch.device) -> list[_Placed]:
    """The sites of one trial's part; the cut unit is the last piece, and the last row of its site."""
    found: dict[int, _Placed] = {}
    for number, group in enumerate(part.groups):
        width = unit_size(part.op, group.site)
        found[group.site.index] = _Placed(group.site, width, part.scale, number)
    if part.cut is not None:
        site = part.cut.site
        here = found.get(site.index) or _Placed(site, unit_size(part.op, site), part.scale)
        order = torch.as_tensor(part.cut.order).to(device)
        here.cut = (len(part.groups), order, torch.from_numpy(part.cut.row).to(device))
        found[site.index] = here
    return list(found.values())
