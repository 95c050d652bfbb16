"""As many rows a pass as memory holds: a batch goes through in parts where it doesn't fit, with the same numbers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")
_log = logging.getLogger(__name__)


class MicroBatches:
    """How many rows of a batch go through the backbone at once.

    Args:
        rows: to begin with; halved, for what follows too, whenever memory runs out.
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def fit(self, work: Callable[[int], T], undo: Callable[[], None] = lambda: None) -> T:
        """``work`` with so many rows a pass, again with half as many where they don't fit.

        Args:
            work: takes the most rows of a pass.
            undo: clears what a failed try left.

        Raises:
            RuntimeError: what doesn't fit is a single row; or any other error of ``work``.
        """
        while True:
            try:
                return work(self.rows)
            except RuntimeError as error:
                if self.rows == 1 or not ran_out(error):
                    raise
            # outside the handler: the traceback, which holds the failed pass's tensors, is gone by now
            self.rows //= 2
            _log.warning("out of memory: the batch goes through in parts of %d rows from here on", self.rows)
            undo()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def ran_out(error: RuntimeError) -> bool:
    """Whether memory ran out, a GPU's or (for which torch has no type of its own) the machine's."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator: can't allocate" in str(error)
