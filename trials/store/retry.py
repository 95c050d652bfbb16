"""A store that hiccups: the same call again, later and later, before it is given up."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from trials.errors import ApetError
from trials.failures import InfrastructureError
from trials.store.s3 import Unreachable

P = ParamSpec("P")
T = TypeVar("T")
DELAYS = (0.5, 1, 2, 4, 8, 15, 30, 60, 60, 60)  # seconds before each further try, four minutes in all
SHORT = (1, 2, 4, 8)  # the same, for somebody who waits for an answer and can ask again
_log = logging.getLogger(__name__)


def patiently(
    call: Callable[P, T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """``call(*args, **kwargs)``, again after each of :data:`DELAYS` as long as the store can't be read or written.

    Raises:
        InfrastructureError: it still can't after the last.
    """
    for delay in DELAYS:
        try:
            return call(*args, **kwargs)
        except (ApetError, OSError) as error:
            _log.warning("%s; once more in %g s", error, delay)
        wait(delay)
    try:
        return call(*args, **kwargs)
    except (ApetError, OSError) as error:
        raise InfrastructureError(f"tried {len(DELAYS) + 1} times: {error}") from error


def shortly(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """``call(*args, **kwargs)``, again after each of :data:`SHORT` as long as an object store is busy or out of reach.

    Raises:
        Unreachable: it still is after the last.
    """
    for delay in SHORT:
        try:
            return call(*args, **kwargs)
        except Unreachable as error:
            _log.warning("%s; once more in %g s", error, delay)
        wait(delay)
    return call(*args, **kwargs)


def wait(seconds: float) -> None:
    """The clock; tests put their own in its place."""
    time.sleep(seconds)
