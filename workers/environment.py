"""What a row says of the machine and the code that made it."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import socket
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from trials.errors import ApetError, choices
from trials.processor import NODE_TYPE

PACKAGES = ("apet", "torch", "transformers", "datasets", "deepspeed", "numpy", "pyarrow")


def device_of(name: str) -> str:
    """Resolve auto, cpu or cuda.

    Raises:
        ApetError: no such device here.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise ApetError(f"device {name!r}: {choices(name, ('auto', 'cpu', 'cuda'))}")
    if name == "cuda" and not torch.cuda.is_available():
        raise ApetError("device 'cuda': torch sees no GPU here; use --device cpu, or install a CUDA build of torch")
    return "cuda" if name != "cpu" and torch.cuda.is_available() else "cpu"


def precision_of(requested: str, device: str) -> str:
    """Resolve auto: bf16 where the device has it, else fp32."""
    if requested != "auto":
        return requested
    return "bf16" if device == "cuda" and torch.cuda.is_bf16_supported() else "fp32"


def reset_peak_memory(device: str) -> None:
    """Begin to measure :func:`peak_memory_bytes` anew, where that can be done: on a GPU, and on Linux."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM := VmRSS, see proc_pid_clear_refs(5)


def peak_memory_bytes(device: str) -> int:
    """The most memory since :func:`reset_peak_memory`: that torch had of the GPU, or resident in this process."""
    if device == "cuda":
        return int(torch.cuda.max_memory_allocated())
    with contextlib.suppress(OSError, StopIteration):
        status = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@cache
def environment() -> dict[str, Any]:
    """Host, versions and commit, looked up once a process."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    kind = os.environ.get(NODE_TYPE) or (
        torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    )
    return {"host": socket.gethostname(), "node_type": kind, "versions": versions, "commit": _commit()}


def _commit() -> str | None:
    """The commit of a source checkout; None for an installed package or without git."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        run = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return run.stdout.strip()
