"""A report that is written again while a sweep fills its store."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.reporting.report import Writer
from trials.errors import ApetError
from trials.store.store import Store

LOCAL_S, REMOTE_S = 5.0, 30.0  # between looks at the store


@dataclass(frozen=True)
class Look:
    """What came of one look at the store that wasn't as before.

    Args:
        page: where the report was written; None where it couldn't be.
        attempts: how many it is of.
        error: in words, why it couldn't be.
    """

    page: Path | None
    attempts: int = 0
    error: str = ""


def watch(
    store: Store, out: str | Path, *, pause: Callable[[float], object] = time.sleep, **rules: Any
) -> Generator[Look]:
    """Write the report, and again whenever the store has got new attempts, until the iterator is closed.

    A store that isn't there yet is waited for, and one that hiccups is asked again.

    Args:
        store: what to draw.
        out: the folder.
        pause: sleeps so many seconds.
        rules: the keywords of :func:`orchestrator.reporting.report.report`.

    Raises:
        ApetError: the first report can't be written, but for a store that isn't there.
    """
    every_s = LOCAL_S if store.folder is not None else REMOTE_S
    writer = Writer(store, Path(out), rules)
    last = Look(None)
    try:
        while True:
            try:
                look = _look(store, writer, last)
            except ApetError as error:
                if writer.page is None:
                    raise
                look = Look(None, last.attempts, str(error))
            if look != last:
                yield look
            last = look
            pause(every_s)
    finally:
        writer.close()


def _look(store: Store, writer: Writer, last: Look) -> Look:
    if not store.exists():
        return Look(None, error=f"no store at {store.uri} yet")
    attempts = store.attempts().num_rows
    if last.page is not None and attempts == last.attempts:
        return last
    return Look(writer.write(time.strftime("%Y-%m-%d %H:%M:%S")), attempts)
