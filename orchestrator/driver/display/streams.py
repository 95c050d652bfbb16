"""A terminal that was closed, a pipe that nobody reads any more: no reason to end a run, nor to lose its end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO


@contextmanager
def tolerant(stream: IO[str]) -> Iterator[None]:
    """What is written meanwhile goes nowhere once there is nobody to read it; so does all that comes later."""
    try:
        yield
    except OSError:
        with suppress(OSError, ValueError):  # a stream without a file has no reader to lose
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
