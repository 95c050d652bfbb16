"""A gang of several processes: torch's process group, gloo between CPUs, NCCL between GPUs.

Small decisions and objects go between CPUs even where GPUs train, so that none of them waits for a device. Objects are
pickled by torch, from our own ranks to our own ranks.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import PrefixStore, TCPStore
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors

from workers.gang.gang import Gang
from workers.gang.interface import interface_to

T = TypeVar("T")
LOOPBACK = "lo"


def listen(host: str, ranks: int, timeout_s: float) -> TCPStore:
    """The first rank's meeting point, on a port that the system chooses: gangs beside each other never meet.

    Args:
        host: name or address by which the other ranks reach this machine.
        ranks: how many come.
        timeout_s: of what waits for it.

    Returns:
        a ``TCPStore``, whose ``port`` is for the others.
    """
    return TCPStore(host, 0, ranks, is_master=True, timeout=timedelta(seconds=timeout_s), wait_for_workers=False)


def meet(host: str, port: int, ranks: int, timeout_s: float) -> TCPStore:
    """Another rank's way to where the first one listens."""
    return TCPStore(host, port, ranks, is_master=False, timeout=timedelta(seconds=timeout_s), wait_for_workers=False)


class Processes(Gang):
    """Joins the process group; one gang a process, until the process ends.

    Args:
        meeting: from :func:`listen` or :func:`meet`; None: a gang of one, which meets nobody.
        rank, ranks: which one this is, and how many.
        device: cpu or cuda.
        timeout_s: of every collective call: whoever waits longer raises.
        local: whether all ranks are on one machine.
    """

    def __init__(
        self, meeting: Any, rank: int, ranks: int, device: str, timeout_s: float, *, local: bool = True
    ) -> None:
        self.rank, self.ranks = rank, ranks
        meeting = meeting if meeting is not None else dist.HashStore()  # type: ignore[attr-defined]
        # a host's name may lead nowhere, as in a container, or nowhere but here
        if name := LOOPBACK if local else interface_to(meeting.host):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
            if not local:
                os.environ.setdefault("NCCL_SOCKET_IFNAME", name)
        os.environ.update(RANK=str(rank), WORLD_SIZE=str(ranks), LOCAL_RANK="0", LOCAL_SIZE=str(ranks))
        backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
        group = PrefixStore("group", meeting)
        dist.init_process_group(backend, store=group, rank=rank, world_size=ranks, timeout=timedelta(seconds=timeout_s))

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """See :class:`Gang`: one call for all that are of one kind and place."""
        if self.ranks == 1 or not tensors:
            return
        flat = _flatten_dense_tensors(tensors)  # type: ignore[no-untyped-call]
        dist.all_reduce(flat)
        summed = _unflatten_dense_tensors(flat, tensors)  # type: ignore[no-untyped-call]
        for x, total in zip(tensors, summed, strict=True):
            x.copy_(total)

    def most(self, number: int) -> int:
        """See :class:`Gang`."""
        if self.ranks == 1:
            return number
        held = torch.tensor(number)
        dist.all_reduce(held, op=dist.ReduceOp.MAX)
        return int(held)

    def of_first(self, value: T) -> T:
        """See :class:`Gang`."""
        held = [value]
        if self.ranks > 1:
            dist.broadcast_object_list(held, src=0)
        return held[0]

    def gather(self, value: T) -> list[T]:
        """See :class:`Gang`."""
        held: list[Any] = [value] * self.ranks
        if self.ranks > 1:
            dist.all_gather_object(held, value)
        return held
