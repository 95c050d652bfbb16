"""A function on several real processes over gloo, each a rank of one gang.

The processes are forked from one that has imported what takes long, torch and transformers first of all, and has done
nothing else: a rank is there within tenths of a second.
"""

from __future__ import annotations

import multiprocessing
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

LIMIT_S = 300.0  # of all ranks together: a machine may be busy with other tests
FIRST = (  # of what a worker imports
    "torch.distributed",
    "torch._dynamo",
    "transformers.models.bert.modeling_bert",
    "transformers.models.bloom.modeling_bloom",
    "transformers.models.t5.modeling_t5",
    "pyarrow.parquet",
    "sklearn.metrics",
    "pytest",
)


class RanksFailed(AssertionError):
    """What the first rank that failed has said, or which ones never ended."""


def on_ranks(ranks: int, work: Callable[..., Any], *args: Any, timeout_s: float = 120.0) -> list[Any]:
    """What ``work(gang, *args)`` gives on each rank, in their order.

    Args:
        ranks: how many.
        work: a function of a module, for it goes there by its name; what it is given and gives can be pickled.
        timeout_s: of each collective.

    Raises:
        RanksFailed: it raised on a rank, a rank died, or time is up.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(FIRST))
    pipes, processes = [], []
    for rank in range(ranks):
        ours, theirs = context.Pipe()
        process = context.Process(target=_rank, args=(theirs, rank, ranks, timeout_s, work, args), daemon=True)
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    try:
        port = _said(pipes[0], time.monotonic() + LIMIT_S)
        for pipe in pipes[1:]:
            pipe.send(port)
        return _results(pipes)
    finally:
        for process in processes:
            process.kill()
            process.join()


def _results(pipes: Sequence[Connection]) -> list[Any]:
    """Of every rank; the first one that fails ends them all."""
    found: dict[int, Any] = {}
    until = time.monotonic() + LIMIT_S
    while len(found) < len(pipes):
        left = [pipe for rank, pipe in enumerate(pipes) if rank not in found]
        ready = wait(left, timeout=max(0.0, until - time.monotonic()))
        if not ready:
            missing = sorted(set(range(len(pipes))) - found.keys())
            raise RanksFailed(f"after {LIMIT_S:.0f} s ranks {missing} of {len(pipes)} haven't ended")
        for pipe in ready:
            assert isinstance(pipe, Connection)
            found[pipes.index(pipe)] = _said(pipe, until)
    return [found[rank] for rank in range(len(pipes))]


def _said(pipe: Connection, until: float) -> Any:
    if not pipe.poll(max(0.0, until - time.monotonic())):
        raise RanksFailed("a rank says nothing")
    try:
        fine, value = pipe.recv()
    except EOFError:
        raise RanksFailed("a rank has died without a word") from None
    if not fine:
        raise RanksFailed(value)
    return value


def _rank(pipe: Connection, rank: int, ranks: int, timeout_s: float, work: Callable[..., Any], args: Any) -> None:
    """The life of one rank."""
    try:
        import torch

        from workers.gang import processes

        torch.set_num_threads(1)
        if rank == 0:
            meeting = processes.listen("127.0.0.1", ranks, timeout_s)
            pipe.send((True, meeting.port))
        else:
            meeting = processes.meet("127.0.0.1", pipe.recv(), ranks, timeout_s)
        gang = processes.Processes(meeting, rank, ranks, "cpu", timeout_s)
        pipe.send((True, work(gang, *args)))
        gang.gather(None)  # the first one holds the meeting point: it leaves last
    except BaseException:
        pipe.send((False, f"rank {rank} of {ranks}:\n{traceback.format_exc()}"))
