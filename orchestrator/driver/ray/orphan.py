"""The end of a process of ours whose raylet is gone: nothing would take its results, and its pack goes on elsewhere."""

from __future__ import annotations

import os
import threading
import time

CHECK_S = 1.0


def end_with_parent(check_s: float = CHECK_S) -> None:
    """From now on the whole process exits soon after the one that started it, Ray's raylet. Ray's own look takes many
    seconds more, in which a gang without its worker would train on, and write rows that another one writes too.
    """
    threading.Thread(target=_watch, args=(os.getppid(), check_s), name="orphan", daemon=True).start()


def _watch(parent: int, check_s: float) -> None:
    while os.getppid() == parent:
        time.sleep(check_s)
    os._exit(1)
