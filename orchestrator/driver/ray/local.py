"""A private Ray on this machine: started, quiet, and gone when the run ends."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.driver.ray.guardian import guarded, marked
from orchestrator.planning.devices import Machine
from orchestrator.planning.fit import USABLE
from trials.errors import ApetError

PREFIX = "apet-"
PRINTS = "_worker_logs_enabled"  # of ray._private.worker
LOOK_S = 5.0
OBJECT_STORE_BYTES = 128 * 2**20  # packs and reports are a few kilobytes
SILENT = {"logging_level": logging.CRITICAL, "log_to_driver": False}  # of ray.init


def start(directory: Path, machine: Machine) -> None:
    """Start Ray with all of ``machine``, this one, and join it."""
    import ray

    with marked(directory):
        ray.init(
            address="local",
            num_cpus=machine.cpus,
            num_gpus=machine.gpus,
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            _memory=int(machine.memory * USABLE),
            _temp_dir=str(directory),
            **SILENT,
        )


def lookout(private: bool) -> Callable[[], None]:
    """A look, every LOOK_S at most, whether a private cluster still has its node: without it packs wait for ever.

    The look raises ApetError where the node is gone. A cluster that was there before may get new ones, and is waited
    for.
    """
    import ray

    last = time.monotonic()

    def look() -> None:
        nonlocal last
        if not private or time.monotonic() - last < LOOK_S:
            return
        last = time.monotonic()
        if not any(node["Alive"] for node in ray.nodes()):
            raise ApetError(
                "Ray's processes on this machine ended, killed from outside or for lack of memory; what is finished "
                "has its rows: run the same command again"
            )

    return look


@contextmanager
def folder() -> Iterator[Path]:
    """A temporary directory, removed at the end, whether we or our guardian live to see it."""
    base = Path(tempfile.gettempdir())
    if len(os.fsencode(base)) > 30:  # Ray puts sockets below, whose paths have at most 107 bytes
        base = Path("/tmp")
    directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
    with guarded(directory):
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def quiet() -> Iterator[None]:
    """Ray says nothing, its loggers and what it prints of processes that died: that comes back as rows."""
    import ray._private.worker as printer

    loggers = [logging.getLogger(name) for name in ("ray", "ray.tune", "ray.train", "ray.data")]
    before = [logger.level for logger in loggers]
    printed = getattr(printer, PRINTS, True)  # no public switch: it prints to stdout, among our results
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        setattr(printer, PRINTS, False)
        yield
    finally:
        setattr(printer, PRINTS, printed)
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
