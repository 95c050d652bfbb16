"""The name of this machine's CPU, and its kind in a cluster: what is measured on one says little of another."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

NODE_TYPE = "APET_NODE_TYPE"  # an environment variable: what a cluster calls machines like this one
CPUINFO = Path("/proc/cpuinfo")


@cache
def processor() -> str:
    """As the kernel names it, or else the architecture: ``Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz``."""
    return named(CPUINFO) or platform.processor() or platform.machine()


def named(listing: Path) -> str:
    """The first ``model name`` of Linux's list of processors; empty where there is none."""
    try:
        lines = listing.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    values = (
        value.strip() for name, _, value in (line.partition(":") for line in lines) if name.strip() == "model name"
    )
    return next(values, "")
