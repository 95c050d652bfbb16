"""Memory that ran out, a GPU's or the machine's, as one exception."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


class OutOfMemoryError(RuntimeError):
    """What was asked for doesn't fit into the memory that is free."""


@contextmanager
def memory_named() -> Iterator[None]:
    """Turn every error that says so into :class:`OutOfMemoryError`.

    Raises:
        OutOfMemoryError: memory ran out inside.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        # torch has a type for a GPU's memory and none for the machine's: the only place that reads an error's text
        if isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator: can't allocate" in str(
            error
        ):
            raise OutOfMemoryError(str(error)) from error
        raise
