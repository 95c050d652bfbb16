"""A private Ray on this machine: started, quiet, and gone when the run ends."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from orchestrator.driver.ray.guardian import guarded, marked
from orchestrator.planning.capacity import USABLE
from orchestrator.planning.devices import Machine

PREFIX = "apet-"
PRINTS = "_worker_logs_enabled"  # of ray._private.worker
LOOK_S = 5.0
NEEDED = {"raylet", "gcs_server"}  # of the kinds of process that Ray starts
LASTS = "gcs_server"  # of the private cluster's processes, the one that the others can't end in order without
OBJECT_STORE_BYTES = 128 * 2**20  # packs and reports are a few kilobytes
SILENT = {"logging_level": logging.CRITICAL, "log_to_driver": False}  # of ray.init


def start(directory: Path, machine: Machine) -> None:
    """Start Ray with all of ``machine``, this one, and join it."""
    import ray

    with marked(directory), apart():
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


def lookout(private: bool) -> Callable[[], bool]:
    """A look whether a private cluster still has what it can't do without: else packs wait for ever.

    Costs next to nothing where its processes are our children, and asks the cluster itself every LOOK_S at most. One
    that was there before may get new nodes, and is waited for.
    """
    import ray
    import ray._private.worker as driver

    last = time.monotonic()

    def look() -> bool:
        nonlocal last
        if not private:
            return True
        dead = {kind for kind, _ in driver._global_node.dead_processes()}
        if dead & NEEDED:  # who asks the cluster now waits for a minute, and is aborted then
            return False
        if time.monotonic() - last < LOOK_S:
            return True
        last = time.monotonic()
        return any(node["Alive"] for node in ray.nodes())

    return look


@contextmanager
def apart() -> Iterator[None]:
    """Ray's processes that start meanwhile are in sessions of their own, and no signal's handler is Ray's.

    A signal to our process group, as batch systems send it, and the end of our terminal are for the driver alone, who
    then stops the workers. Ray has no public switch for this, and its own handlers end the process: at once, or in
    three seconds with a stack of C++. Who signals every process still finds the GCS deaf: without it, whatever the
    driver asks of Ray waits for a minute, and the driver is aborted.
    """
    from ray._private import ray_constants, services, utils

    class Apart(services.ConsolePopen):  # type: ignore[misc]  # ray has no types here
        def __init__(self, command: list[str], *args: Any, **kwargs: Any) -> None:
            self.lasts = Path(command[0]).name == LASTS
            before = kwargs.pop("preexec_fn", None) or (lambda: None)

            def preexec() -> None:
                before()
                if self.lasts:
                    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

            super().__init__(command, *args, preexec_fn=preexec, start_new_session=True, **kwargs)

        def terminate(self) -> None:
            """Ask it to end, and the one that doesn't listen to end at once."""
            self.kill() if self.lasts else super().terminate()

    with ExitStack() as stack:
        for module, name, value in (
            (services, "ConsolePopen", Apart),
            (utils, "set_sigterm_handler", lambda handler: None),
            (ray_constants, "RAY_DISABLE_FAILURE_SIGNAL_HANDLER", True),
        ):
            stack.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, value)
        yield


@contextmanager
def folder() -> Iterator[Path]:
    """A temporary directory, removed at the end, whether we or our guardian live to see it."""
    base = Path(tempfile.gettempdir())
    if len(os.fsencode(base)) > 30 or not str(base).isascii():
        base = Path("/tmp")  # Ray puts sockets below, whose paths have at most 107 bytes, and takes them for ASCII
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
