"""glibc's allocator, told what to do with memory that torch frees on a CPU.

By default it returns the top of the heap, and every block above 32 MiB, to the system at once, so that each step
faults the same pages in again: up to a quarter of the step of a pack of four (``benchmarks/modules.py``, with and
without ``--return-freed``). So it is told to keep it.

But not where a backbone is in shards: layers of all sizes, gathered and released, leave holes in a heap that is kept,
and the holes came to twice the shards (a T5 of 300 million parameters on two ranks: 2.4 GB where 1.36 GB are in use).
Another C library: nothing happens.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4  # <malloc.h>
LARGE = 2**20  # bytes


@cache
def _glibc() -> Any:
    """The C library of this process where it is glibc, else None."""
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None


def keep_freed() -> None:
    """Keep freed memory for the next allocation, for the rest of this process."""
    if glibc := _glibc():
        glibc.mallopt(M_TRIM_THRESHOLD, -1)  # never
        glibc.mallopt(M_MMAP_MAX, 0)  # large blocks come from the heap too


def return_large() -> None:
    """Take large blocks from the system and return them when they are freed, for the rest of this process."""
    if glibc := _glibc():
        glibc.mallopt(M_TRIM_THRESHOLD, LARGE)
        glibc.mallopt(M_MMAP_THRESHOLD, LARGE)
        glibc.mallopt(M_MMAP_MAX, 2**16)  # glibc's own


def give_back() -> None:
    """Return what is free now to the system, as after a backbone that nobody needs any more."""
    if glibc := _glibc():
        glibc.malloc_trim(0)
