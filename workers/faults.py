"""Faults on purpose, for tests of what happens after one.

``APET_FAULT=fail:PREFIX`` makes every attempt at trials whose id begins so raise;
``APET_FAULT=fail-once:PREFIX:FILE`` only the first one, which leaves FILE behind.

``APET_FAULT=rank-KIND:RANK:WHERE`` breaks one rank of a gang where it says that it is there, such as ``step 12``: it
raises (``throw``), is killed (``kill``), stopped by the system (``stop``), or hangs in Python (``hang``).
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

VARIABLE = "APET_FAULT"


class InjectedFault(RuntimeError):
    """A fault that the environment asked for."""


def maybe_fail(trial_id: str) -> None:
    """Raise if the environment asks this trial to fail.

    Raises:
        InjectedFault: it does.
    """
    kind, _, rest = os.environ.get(VARIABLE, "").partition(":")
    prefix, _, marker = rest.partition(":")
    if not kind or not trial_id.startswith(prefix):
        return
    if kind == "fail":
        raise InjectedFault(f"{VARIABLE} asks trial {trial_id} to fail")
    if kind == "fail-once" and not Path(marker).exists():
        Path(marker).touch()
        raise InjectedFault(f"{VARIABLE} asks trial {trial_id} to fail once")


def maybe_break(rank: int, where: str) -> None:
    """Break this rank of a gang if the environment asks for it here.

    Raises:
        InjectedFault: it is to throw.
    """
    kind, _, rest = os.environ.get(VARIABLE, "").partition(":")
    which, _, place = rest.partition(":")
    if which != str(rank) or place != where:
        return
    if kind == "rank-throw":
        raise InjectedFault(f"{VARIABLE} asks rank {rank} to fail at {where}")
    if kind in ("rank-kill", "rank-stop"):
        os.kill(os.getpid(), signal.SIGKILL if kind == "rank-kill" else signal.SIGSTOP)
    while kind == "rank-hang":
        time.sleep(1)
