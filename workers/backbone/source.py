"""The tensors of a backbone by the model's own names, each read or drawn when it is asked for, into its place.

No source keeps a second copy of more than a part of a tensor, on any device: an 11B model is never in host memory for
being loaded. :func:`each` gives whole tensors in turn; a rank that holds a shard of each fills just that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import torch
from torch import Tensor

from trials.errors import ApetError
from trials.sources.tensors import Sizes, Stored
from workers.backbone.files import PART, Reader


class TensorSource(Protocol):
    """Where the numbers of a model come from."""

    @property
    def shapes(self) -> Mapping[str, Sizes]:
        """Every tensor by its name in the model; tied ones once."""

    def fill(self, out: Tensor, name: str, start: int = 0) -> None:
        """Give a flat tensor, on any device, the scalars of a tensor from ``start`` on, in its own precision.

        Args:
            out: [n], contiguous, floating point.
            name: of ``shapes``.
            start: the first scalar; ``start + n`` are there at least.

        Raises:
            ApetError: they can't be read, or aren't finite numbers in that precision.
        """


def each(source: TensorSource, dtype: torch.dtype, device: str | torch.device = "cpu") -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a source with its name, one at a time, whole, on a device.

    Raises:
        ApetError: as :meth:`TensorSource.fill`.
    """
    for name, shape in source.shapes.items():
        value = torch.empty(shape, dtype=dtype, device=device)
        source.fill(value.view(-1), name)
        yield name, value


class Filed:
    """The tensors that lie in files.

    Args:
        found: which stored tensor is which of the model's; their ``file`` is named in errors.
        reader: reads them by their stored names.
    """

    def __init__(self, found: Mapping[str, Stored], reader: Reader) -> None:
        self._found, self._reader = found, reader

    @property
    def shapes(self) -> Mapping[str, Sizes]:
        """See :class:`TensorSource`."""
        return {name: one.shape for name, one in self._found.items()}

    def fill(self, out: Tensor, name: str, start: int = 0) -> None:
        """See :class:`TensorSource`."""
        one = self._found[name]
        for part in self._reader.parts(one.name, start, start + out.numel()):
            if not part.is_floating_point():
                raise ApetError(f"{one.file}: {one.name} is {part.dtype}; weights are float32, bfloat16 or float16")
            place, out = out[: part.numel()], out[part.numel() :]
            place.copy_(part)
            if not torch.isfinite(torch.stack(torch.aminmax(place))).all():  # one pass, and a NaN is both
                raise ApetError(
                    f"{one.file}: {one.name} holds numbers that are not finite in {place.dtype}; copy the file again"
                )


class Held:
    """The tensors of a small model, which are in memory already."""

    def __init__(self, held: Mapping[str, Tensor]) -> None:
        self._held = held

    @property
    def shapes(self) -> Mapping[str, Sizes]:
        """See :class:`TensorSource`."""
        return {name: tuple(value.shape) for name, value in self._held.items()}

    def fill(self, out: Tensor, name: str, start: int = 0) -> None:
        """See :class:`TensorSource`."""
        flat = self._held[name].detach().reshape(-1)
        for at in range(0, out.numel(), PART):
            place = out[at : at + PART]
            place.copy_(flat[start + at : start + at + place.numel()])
