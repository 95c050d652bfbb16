"""A gang from outside: one object that runs packs as a ``Worker`` does, with ranks in processes of their own.

It starts them where its launcher does, tells all of them the same, passes on what the first one says, and ends all of
them when one can't go on: a pack goes on with all or is over for all. The next pack gets new ranks. No torch.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

from trials.errors import ApetError
from trials.pack import Pack
from trials.setup import Setup
from trials.store.store import Store
from workers.gang import messages as say
from workers.gang.messages import Message, Trouble
from workers.gang.ranks import Launcher, Ranks
from workers.gang.verdict import Anew, GangError, hangs, verdict
from workers.pack.progress import Progress

__all__ = ["GangError", "GangWorker", "Launcher", "Ranks"]

GANG_TIMEOUT_S = 600.0  # of a collective call
LEAST_TIMEOUT_S = 1.0
TIMEOUT = "APET_GANG_TIMEOUT_S"  # the environment variable that says otherwise
START_S = 600.0  # ranks import torch, from a slow file system and beside others
BETTER_S = 3.0  # after a first error ranks have so long to say better what happened
LOOK_S = 0.1
WORKER = "workers.worker:Worker"
WATCHDOG = "Watchdog caught collective operation"  # NCCL's word before it ends a process that waited in vain
_log = logging.getLogger(__name__)


def never() -> bool:
    """Don't stop."""
    return False


class GangWorker:
    """Runs packs on a gang, which stays from pack to pack as long as their ranks and device are the same.

    Args:
        store: where rows, modules and checkpoints go.
        launcher: where the ranks run.
        engine: plain, deepspeed or auto, for every rank's worker.
        worker: ``module:name`` of what makes it; it is called with the store, ``engine`` and ``gang``.
    """

    def __init__(self, store: Store, launcher: Launcher, *, engine: str = "auto", worker: str = WORKER) -> None:
        self.store, self.launcher = store, launcher
        self._start = say.Start(store.uri, worker, engine)
        self._group: _Group | None = None
        self._kind: tuple[int, str] | None = None  # of the group: ranks, device

    def run(self, pack: Pack, should_stop: Callable[[], bool] = never) -> Iterator[Progress]:
        """As ``workers.worker.Worker.run``. Whoever leaves it early ends the gang, and the next pack forms another.

        Raises:
            ApetError: the set-up asks for what isn't here.
            InfrastructureError: a :class:`GangError`, or ranks that couldn't be started. Trials that haven't ended have
                no row, and keep their checkpoints; this object may be used again.
        """
        if pack.setup.device == "auto":
            pack = replace(pack, setup=replace(pack.setup, device="cuda" if pack.setup.gpus else "cpu"))
        limits: dict[str, Any] | None = None
        ended: set[str] = set()
        try:
            while True:
                try:
                    for progress in self._form(pack.setup).run(pack, limits, should_stop):
                        ended |= {trial.trial_id for trial in progress.ended}
                        yield progress
                    return
                except Anew as anew:
                    self.close()
                    left = tuple(m for m in pack.members if m.trial.trial_id not in ended)
                    if not left:
                        return
                    if anew.limits == limits:  # it would go on like this for ever
                        raise anew.error from None
                    pack, limits = replace(pack, members=left), anew.limits
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the ranks."""
        if self._group is not None:
            self._group.ranks.kill()
        self._group = None

    def _form(self, setup: Setup) -> _Group:
        """The ranks that are there, if they are of the kind and live, else new ones."""
        kind = setup.ranks, setup.device
        if self._group is None or kind != self._kind or not self._group.lives():
            self.close()
            self._kind, timeout_s = kind, _timeout_s()
            self._group = _Group(self.launcher.start(*kind), setup.ranks)
            self._group.form(self._start, setup.device, timeout_s)
        return self._group


def _timeout_s() -> float:
    """Seconds that ranks wait for each other.

    Raises:
        ApetError: the environment has no such number.
    """
    text = os.environ.get(TIMEOUT) or str(GANG_TIMEOUT_S)
    with suppress(ValueError):
        if LEAST_TIMEOUT_S <= (seconds := float(text)) < math.inf:
            return seconds
    raise ApetError(f"{TIMEOUT}={text}: give seconds, {LEAST_TIMEOUT_S:g} or more")


class _Group:
    """Ranks, and what they say."""

    def __init__(self, ranks: Ranks, count: int) -> None:
        self.ranks, self._count = ranks, count
        self._places = ["its start"] * count
        self._waiting = set(range(count))  # for these to answer
        self._troubles: dict[int, Trouble] = {}
        self._since = 0.0  # the first of them

    def lives(self) -> bool:
        """Whether no rank has ended since it was last heard."""
        list(self._heard(0))
        return not self._troubles

    def form(self, start: say.Start, device: str, timeout_s: float) -> None:
        """From processes to a gang, with a worker each.

        Raises:
            ApetError, GangError: a rank can't.
        """
        self.ranks.send(say.write(start))
        self._all(say.Ready, START_S)
        join = say.Join(device, 0, self._count, self.ranks.host, None, timeout_s, self.ranks.local)
        self.ranks.send(say.write(join), 0)
        port = self._all(say.Port, timeout_s, {0}).port
        for rank in range(1, self._count):
            self.ranks.send(say.write(replace(join, rank=rank, port=port)), rank)
        self._all(say.Joined, timeout_s)

    def run(self, pack: Pack, limits: dict[str, Any] | None, should_stop: Callable[[], bool]) -> Iterator[Progress]:
        """Run a pack on all ranks.

        Raises:
            ApetError, GangError, Anew: a rank can't go on.
        """
        self.ranks.send(say.write(say.Run(pack.to_json(), limits)))
        self._waiting, told = set(range(self._count)), False
        while self._waiting:
            if not told and should_stop():
                self.ranks.send(say.write(say.Stop()))
                told = True
            for rank, message in self._heard(LOOK_S):
                if isinstance(message, say.Told):
                    yield Progress.from_json(message.progress)
                elif isinstance(message, say.Done):
                    self._waiting.discard(rank)
            if self._over():
                raise verdict(self._troubles, self._silent(), self._places, self.ranks.last_words)

    def _all(self, kind: type[Message], wait_s: float, ranks: set[int] | None = None) -> Any:
        """Wait until these ranks, None: all, have said this; the last one's message."""
        self._waiting, end, last = set(range(self._count)) if ranks is None else ranks, time.monotonic() + wait_s, None
        while self._waiting:
            for rank, message in self._heard(LOOK_S):
                if isinstance(message, kind):
                    self._waiting.discard(rank)
                    last = message
            if self._over():
                raise verdict(self._troubles, self._silent(), self._places, self.ranks.last_words)
            if (silent := self._silent()) and time.monotonic() > end:
                raise hangs(silent, self._places, self.ranks.last_words, f"no word of it in {wait_s:g} s")
        return last

    def _heard(self, wait_s: float) -> Iterator[tuple[int, Message]]:
        """What ranks have said; where they are, what they warn of and that they can't go on is noted here."""
        for rank, line in self.ranks.events(wait_s):
            message = self._death(rank) if line is None else say.read(line)
            if isinstance(message, say.At):
                self._places[rank] = message.where
            elif isinstance(message, say.Said):
                _log.warning("%s", message.text)
            elif isinstance(message, Trouble):
                self._since = self._since if self._troubles else time.monotonic()
                self._troubles.setdefault(rank, message)  # it ends after it has said why
            else:
                yield rank, message

    def _death(self, rank: int) -> Trouble:
        """A process that is gone."""
        last = self.ranks.last_words(rank).strip().splitlines() or ["nobody knows why"]
        kind = say.COLLECTIVE if any(WATCHDOG in line for line in last) else say.DIED
        return Trouble(kind, "RankDied", f"its process ended: {last[-1]}")

    def _over(self) -> bool:
        """Whether a rank can't go on, and the others have said the same or have had their time to."""
        if not self._troubles:
            return False
        return len(self._troubles) == self._count or time.monotonic() - self._since > BETTER_S

    def _silent(self) -> list[int]:
        """Ranks that are waited for and have said nothing."""
        return sorted(self._waiting - self._troubles.keys())
