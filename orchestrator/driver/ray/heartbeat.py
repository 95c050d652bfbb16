"""A worker's background thread: heartbeats and the request to stop."""

from __future__ import annotations

import logging
import threading
from typing import Any, Protocol

from trials.errors import ApetError

BEAT_S = 10.0  # `apet status` takes a heartbeat younger than a minute for a running trial
CHECK_S = 1.0

log = logging.getLogger(__name__)


class Beats(Protocol):
    """The part of a store that a heartbeat needs."""

    def beat(self, run_id: str, worker_id: str, payload: dict[str, Any]) -> None:
        """Say that a worker lives, and what it does."""

    def end_beat(self, run_id: str, worker_id: str) -> None:
        """Take the heartbeat back."""

    def stop_requested(self, run_id: str) -> bool:
        """Whether the run's workers should stop."""


class Heartbeat:
    """Beats while a worker trains, which itself has no time to.

    A store that can't be reached for a while costs a heartbeat, not the pack.
    """

    def __init__(self, store: Beats, run_id: str, worker_id: str, beat_s: float = BEAT_S, check_s: float = CHECK_S):
        self._store, self._run_id, self._worker_id = store, run_id, worker_id
        self._beat_s, self._check_s = beat_s, check_s
        self._payload: dict[str, Any] = {}
        self.told = False  # this worker alone was told to stop
        self._stop, self._closed, self._news = threading.Event(), threading.Event(), threading.Event()
        self._look()
        self._thread = threading.Thread(target=self._live, name="heartbeat", daemon=True)
        self._thread.start()

    def say(self, payload: dict[str, Any], now: bool = False) -> None:
        """What the next heartbeat tells; ``now``: don't wait for its time."""
        self._payload = payload
        if now:
            self._news.set()

    def should_stop(self) -> bool:
        """Whether the run was asked to stop; costs nothing, so it may be called at every batch."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Stop this worker, whatever becomes of the run."""
        self.told = True
        self._stop.set()

    def close(self) -> None:
        """End the thread and take the heartbeat back."""
        self._closed.set()
        self._news.set()
        self._thread.join(timeout=5)
        self._try("take its heartbeat back", self._store.end_beat, self._run_id, self._worker_id)

    def _live(self) -> None:
        since = self._beat_s
        while not self._closed.is_set():
            self._look()
            news = self._news.is_set()
            self._news.clear()
            if self._payload and (news or since >= self._beat_s) and not self._closed.is_set():
                self._try("beat", self._store.beat, self._run_id, self._worker_id, self._payload)
                since = 0.0
            self._news.wait(self._check_s)
            since += self._check_s

    def _look(self) -> None:
        if not self._stop.is_set() and self._try("look for a stop", self._store.stop_requested, self._run_id):
            self._stop.set()

    def _try(self, what: str, call: Any, *args: Any) -> Any:
        try:
            return call(*args)
        except (OSError, ApetError) as error:  # a full disk, a bucket out of reach: training goes on
            log.warning("worker %s could not %s: %s", self._worker_id, what, error)
            return None
