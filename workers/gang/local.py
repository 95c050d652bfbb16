"""A gang's ranks as processes of this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

from trials.failures import InfrastructureError

LAST_LINES = 40  # of what a rank writes to stderr
CARDS = "CUDA_VISIBLE_DEVICES"
END_S = 10.0  # a killed process that is still there after it is the system's


class RankProcess:
    """One rank's process, in a session of its own: signals of a terminal or to a group are for its supervisor.

    Threads feed it and hear it, so that neither side ever waits for the other.

    Args:
        more: environment variables beside this process's.
        hear: called from a thread with every line it says, and with None once it is gone.

    Raises:
        InfrastructureError: the system has no room for it.
    """

    def __init__(self, more: Mapping[str, str], hear: Callable[[str | None], None]) -> None:
        here = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)  # it finds the modules that are found here
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "workers.gang.rank"],
                env={**os.environ, "PYTHONPATH": here, **more},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            raise InfrastructureError(f"a rank's process can't be started: {error}") from error
        self.pid = self._process.pid
        self._hear = hear
        self._orders: SimpleQueue[str | None] = SimpleQueue()
        self._words: deque[str] = deque(maxlen=LAST_LINES)
        works = (self._feed, self._listen, self._note)
        self._threads = [Thread(target=work, name=f"rank {self.pid}", daemon=True) for work in works]
        for thread in self._threads:
            thread.start()

    def send(self, text: str) -> None:
        """Lines for its standard input."""
        self._orders.put(text)

    def last_words(self) -> str:
        """See :class:`workers.gang.ranks.Ranks`."""
        code = self._process.poll()
        if code is None:
            return "".join(list(self._words))
        self._threads[-1].join(1.0)  # it may not have read all yet
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return "".join([*self._words, how])

    def kill(self) -> None:
        """End it, and what it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._orders.put(None)

    def wait(self) -> None:
        """Until nothing is left of it, once it is killed."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_S)
        for thread in self._threads:
            thread.join(END_S)

    def _feed(self) -> None:
        with suppress(OSError), self._process.stdin as stdin:  # type: ignore[union-attr]  # a pipe
            while (text := self._orders.get()) is not None:
                stdin.write(text)
                stdin.flush()

    def _listen(self) -> None:
        with self._process.stdout as stdout:  # type: ignore[union-attr]
            for line in stdout:
                if line.endswith("\n"):  # it may be killed while it says something
                    self._hear(line)
        self._process.wait()
        self._hear(None)

    def _note(self) -> None:
        with self._process.stderr as stderr:  # type: ignore[union-attr]
            self._words.extend(stderr)


class LocalRanks:
    """See :class:`workers.gang.ranks.Ranks`."""

    host, local = "127.0.0.1", True

    def __init__(self, ranks: int, device: str) -> None:
        self._heard: SimpleQueue[tuple[int, str | None]] = SimpleQueue()
        self._processes: list[RankProcess] = []
        try:
            for rank in range(ranks):
                hear = partial(self._hear, rank)
                self._processes.append(RankProcess(environment(rank, ranks, device), hear))
        except BaseException:
            self.kill()
            raise

    @property
    def pids(self) -> list[int]:
        """Of the ranks, in their order."""
        return [process.pid for process in self._processes]

    def send(self, text: str, rank: int | None = None) -> None:
        """See the protocol."""
        for process in self._processes if rank is None else [self._processes[rank]]:
            process.send(text)

    def events(self, wait_s: float) -> list[tuple[int, str | None]]:
        """See the protocol."""
        found: list[tuple[int, str | None]] = []
        with suppress(Empty):
            found.append(self._heard.get(timeout=wait_s))
            while True:
                found.append(self._heard.get_nowait())
        return found

    def last_words(self, rank: int) -> str:
        """See the protocol."""
        return self._processes[rank].last_words()

    def kill(self) -> None:
        """See the protocol."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()

    def _hear(self, rank: int, line: str | None) -> None:
        self._heard.put((rank, line))


class Local:
    """Starts ranks on this machine."""

    def start(self, ranks: int, device: str) -> LocalRanks:
        """See :class:`workers.gang.ranks.Launcher`."""
        return LocalRanks(ranks, device)


def environment(rank: int, ranks: int, device: str) -> dict[str, str]:
    """What a rank has to itself: one card of those that are seen here, or none, and its share of the CPUs."""
    cards = os.environ.get(CARDS, ",".join(map(str, range(ranks)))).split(",")
    mine = cards[rank : rank + 1] if device == "cuda" else []
    threads = max(1, len(os.sched_getaffinity(0)) // ranks) if hasattr(os, "sched_getaffinity") else 1
    return {CARDS: ",".join(mine), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads))}
