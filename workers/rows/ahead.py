"""The next batch, on its way to the model while the present step runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from workers.rows.batches import Batch


class Ahead:
    """The batches of a stream, where the model is.

    A step on a GPU is started long before it ends. Whoever calls :meth:`prepare` in between has the next batch
    collated, pinned and on its way by then: the copy waits for nothing but what was started before it. On a CPU
    nothing would be gained: there a batch is made when it is asked for.

    Args:
        batches: any; they come in their order, each once.
        device: of the model.
    """

    def __init__(self, batches: Iterator[Batch], device: torch.device) -> None:
        self._batches, self._device = batches, device
        self._next: Batch | None = None

    def __next__(self) -> Batch:
        batch, self._next = self._next or self._made(), None
        return batch

    def prepare(self) -> None:
        """Make the next batch now, if the device is busy with what it was given."""
        if self._device.type != "cpu" and self._next is None:
            self._next = self._made()

    def _made(self) -> Batch:
        batch = next(self._batches)
        if self._device.type == "cpu":
            return batch
        pin = self._device.type == "cuda"  # a copy from any other memory would be waited for
        tensors = {name: x.pin_memory() if pin else x for name, x in batch.tensors.items()}
        return replace(batch, tensors={name: x.to(self._device, non_blocking=True) for name, x in tensors.items()})
