"""One process of a machine at a time: a lock that the system itself takes back from a process that dies."""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_log = logging.getLogger(__name__)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Wait until no other process holds a lock file, then hold it.

    The empty file stays there: whoever deleted it would let two hold it. No lock outlives its process, however that
    ends, so none is ever stale.

    Raises:
        OSError: the file can't be written, or its file system has no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _log.info("waiting for another process, which holds %s", path)
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
