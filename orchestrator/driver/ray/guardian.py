"""The end of a private Ray cluster whose driver was killed: a small process that outlives the driver by seconds.

Most of Ray's processes end with the driver. Its two agents don't: they want to tell the GCS that the raylet is gone,
wait a minute for a GCS that is gone too (a constant in ray/_private/utils.py, publish_error_to_driver), and an agent
that was just starting waits longer. So a guardian holds the reading end of a pipe whose other end only the driver has.
When that closes without a word, however the driver ended, the guardian kills the processes that carry the cluster's
mark in their environment, which Ray's children inherit and nobody else has, and removes the cluster's directory. A
process that gives itself a title writes it over the first part of its environment, now and then over the mark: such
ones of Ray's are known by their open files below the directory.

This file is run as a script, with nothing but the standard library: it has to be there at once. Processes are looked
for in Linux's /proc; elsewhere only the directory is removed, and the agents take their minute or two.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MARK = "APET_CLUSTER"  # in the environment of every process of a cluster: its directory
TITLE = b"ray::"  # of Ray's processes; somebody who only reads their logs isn't one
LOOK_S = 0.2
QUIET_S = 2.0  # with no process seen: what was just being started has come up and was seen too
LIMIT_S = 60.0  # a process that can't be killed for so long is left to the system


@contextmanager
def guarded(directory: Path) -> Iterator[None]:
    """Until it closes, the death of this process ends what was :func:`marked` and removes ``directory``.

    So does an exception, such as a Ctrl-C while Ray shuts down. An orderly end is the caller's.
    """
    guardian = subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,  # else it would hold the pipes of `apet run | tee log` open
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,  # Ctrl-C and the end of the terminal are for the driver
    )
    word = b""
    try:
        yield
        word = b"done"
    finally:
        guardian.communicate(word)


@contextmanager
def marked(directory: Path) -> Iterator[None]:
    """Processes that are started while it is open, and all that come of them, belong to ``directory``'s cluster."""
    os.environ[MARK] = str(directory)
    try:
        yield
    finally:
        del os.environ[MARK]


def belonging(directory: Path) -> list[int]:
    """Ids of the processes of ``directory``'s cluster; none where there is no /proc."""
    wanted, found = os.fsencode(f"{MARK}={directory}"), []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            marked = wanted in (path / "environ").read_bytes().split(b"\0")
            if marked or ((path / "cmdline").read_bytes().startswith(TITLE) and _holds(path / "fd", directory)):
                found.append(int(path.name))
        except OSError:  # ended meanwhile, or another user's
            continue
    return found


def _holds(files: Path, directory: Path) -> bool:
    """Whether a process has a file below ``directory`` open, removed or not."""
    below = f"{directory.resolve()}{os.sep}"  # /proc knows no symbolic links
    return any(str(file.readlink()).startswith(below) for file in files.iterdir())


def clear(directory: Path) -> None:
    """Kill what belongs to ``directory`` until nothing comes any more, and remove it."""
    start = last = time.monotonic()
    while time.monotonic() - last < QUIET_S and time.monotonic() - start < LIMIT_S:
        for pid in belonging(directory):
            last = time.monotonic()
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(LOOK_S)
    shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    if not sys.stdin.buffer.read():
        clear(Path(sys.argv[1]))
