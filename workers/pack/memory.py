"""Memory that ran out, a GPU's or the machine's, as one exception; giving back what a failed try held."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from trials.failures import InfrastructureError
from workers.environment import peak_memory_bytes

CPU_FULL = (
    "DefaultCPUAllocator: can't allocate",  # torch's own
    "could not create a primitive",  # oneDNN's, seen under a limit of the process's memory
)


class OutOfMemoryError(RuntimeError):
    """What was asked for doesn't fit into the memory that is free.

    Attributes:
        of_all: whether every rank of a gang raises it here, for they have decided so together.
        halved: whether what goes through at once is smaller from here on, so that another try may do.
    """

    of_all = False
    halved = False


@contextmanager
def memory_named() -> Iterator[None]:
    """Turn every error that says so into :class:`OutOfMemoryError`.

    Raises:
        OutOfMemoryError: memory ran out inside.
    """
    try:
        yield
    except (OutOfMemoryError, InfrastructureError):  # named already
        raise
    except (RuntimeError, MemoryError) as error:
        # torch has a type for a GPU's memory and none for the machine's: the only place that reads an error's text
        if isinstance(error, torch.OutOfMemoryError | MemoryError) or any(text in str(error) for text in CPU_FULL):
            raise OutOfMemoryError(str(error) or repr(error)) from error
        raise


def give_back() -> None:
    """Let go of what nothing needs any more: of a failed try once its exception is gone, whose traceback holds it."""
    gc.collect()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # torch's own
        torch.cuda.empty_cache()
        torch._C._host_emptyCache()  # the machine's memory beside it: of shards that lay there torch keeps all of it


def hopeless(error: OutOfMemoryError, device: str, when: str) -> OutOfMemoryError:
    """The error of what fits in no smaller part: what was asked for, what there is, what to do next.

    Args:
        error: as it was caught.
        device: cpu or cuda.
        when: it ran out, in words.
    """
    total = (
        torch.cuda.mem_get_info()[1] if device == "cuda" else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    )
    had = f"{'the GPU' if device == 'cuda' else 'the machine'} has {_gib(total)}"
    held = f"this worker has held {_gib(peak_memory_bytes(device))} at most"
    return OutOfMemoryError(
        f"out of memory {when}: {str(error).strip().rstrip('.')} ({had}, {held}); `apet plan` says what it takes, and "
        "`apet resubmit --set resources.KEY=VALUE` tries another set-up, such as resources.gpus=1 where this was a CPU"
    )


def _gib(count: float) -> str:
    return f"{count / 2**30:.1f} GiB"
