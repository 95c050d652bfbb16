"""A store looked at again and again, while others write to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from orchestrator.results.status import Status, status
from trials.errors import ApetError
from trials.store.store import Store
from trials.sweep.sweep import Sweep

LOCAL_S, REMOTE_S = 2.0, 20.0  # between looks; one costs a bucket two listings and what is new since


@dataclass(frozen=True)
class Look:
    """What was seen: the counts, or why there are none now.

    Args:
        status: None where the store isn't there yet, or didn't answer.
        error: in words, where there are no counts.
        every_s: seconds until the next look.
        last: the sweep is through.
    """

    status: Status | None
    error: str
    every_s: float
    last: bool = False


def looks(store: Store, sweep: Sweep | None = None, pause: Callable[[float], object] = time.sleep) -> Iterator[Look]:
    """Look at a store until every trial of the sweep has its row and none is run again; without a sweep for ever.

    A store that isn't there yet is waited for, and one that hiccups is asked again.

    Raises:
        ApetError: the first look can't be had, but for a store that isn't there.
    """
    every_s = LOCAL_S if store.folder is not None else REMOTE_S
    seen = False
    while True:
        try:
            if store.exists():
                found = status(store, sweep)
                seen = True
                through = found.total.missing == found.total.running == 0
                yield Look(found, "", every_s, through)
                if through:
                    return
            else:
                yield Look(None, f"no store at {store.uri} yet", every_s)
        except ApetError as error:
            if not seen:
                raise
            yield Look(None, str(error), every_s)
        pause(every_s)
