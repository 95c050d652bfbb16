"""As many rows a pass as memory holds: a batch goes through in parts where it doesn't fit, with the same numbers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import torch

from workers.pack.memory import OutOfMemoryError, memory_named

T = TypeVar("T")
_log = logging.getLogger(__name__)


class MicroBatches:
    """How many rows of a batch go through the backbone at once.

    Args:
        rows: to begin with; halved, for what follows too, whenever memory runs out.
        let_go: frees what is held for speed alone; whether there was any.
    """

    def __init__(self, rows: int, let_go: Callable[[], bool] = lambda: False) -> None:
        self.rows, self._let_go = rows, let_go

    def fit(self, work: Callable[[int], T], undo: Callable[[], None] = lambda: None) -> T:
        """``work`` with so many rows a pass, again with half as many where they don't fit.

        Args:
            work: takes the most rows of a pass.
            undo: clears what a failed try left.

        Raises:
            OutOfMemoryError: what doesn't fit is a single row.
        """
        while True:
            try:
                with memory_named():
                    return work(self.rows)
            except OutOfMemoryError:
                let_go = self._let_go()
                if self.rows == 1 and not let_go:
                    raise
            # outside the handler: the traceback, which holds the failed pass's tensors, is gone by now
            if not let_go:
                self.rows //= 2
                _log.warning("out of memory: the batch goes through in parts of %d rows from here on", self.rows)
            undo()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
