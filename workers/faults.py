"""Faults on purpose, for tests of what happens after one.

``APET_FAULT=fail:PREFIX`` makes every attempt at trials whose id begins so raise;
``APET_FAULT=fail-once:PREFIX:FILE`` only the first one, which leaves FILE behind.
"""

from __future__ import annotations

import os
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
