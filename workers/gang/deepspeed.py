"""DeepSpeed over the process group that is there; a process alone gets one of its own."""

from __future__ import annotations

import logging
import os
import warnings
from typing import Any

import torch
import torch.distributed as dist

from trials.failures import InfrastructureError
from workers.gang.processes import Processes


def connected(device: str | torch.device) -> Any:
    """The package, ready for its collectives.

    On a CPU its shared-memory operator would be compiled at the first start (a minute, and a compiler), for reductions
    that we leave to torch: it is left out.

    Args:
        device: where the ranks train; the same for all of a process's life.

    Raises:
        InfrastructureError: it is set up for another kind of device here.
    """
    kind = torch.device(device).type
    if not dist.is_initialized():
        Processes(None, 0, 1, kind, timeout_s=600)
    if kind == "cpu":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    import deepspeed

    here = deepspeed.get_accelerator().device_name()
    if here != kind:
        raise InfrastructureError(f"DeepSpeed is for {here} in this process, and can't change to {kind}")
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    if kind == "cpu":
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    # torch has another name for it from 2.13 on, which the DeepSpeed of this day doesn't know
    warnings.filterwarnings("ignore", r".*all_gather_into_tensor", FutureWarning)
    deepspeed.init_distributed(
        dist_backend="nccl" if kind == "cuda" else "gloo", auto_mpi_discovery=False, verbose=False
    )
    return deepspeed
