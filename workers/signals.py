"""The wish to stop a run, from a terminal, a batch system or a shell: the first signal asks, another one ends it.

SIGINT is Ctrl-C; SIGTERM is what ``kill``, ``timeout``, systemd, batch systems and ``ray job stop`` send; SIGHUP comes
when the terminal is closed. One wish may come twice: ``timeout`` signals its child and then the group that both are in,
a shell passes on the SIGHUP that the system sent as well.
"""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
SAME_S = 0.5  # signals so close to the first one are the same wish
GRACE_S = 8.0  # what trains has so long for its next batch and its checkpoint; then the run ends without it


class Stop:
    """While it is open, the first signal only sets :attr:`signal`; the next raises KeyboardInterrupt.

    A signal that was ignored before stays so: ``nohup`` means it. Does nothing outside the main thread, where Python
    takes no signals.

    Attributes:
        signal: number of the first signal, 0 while there was none.
        ending: whether what is left is to tidy up, which another signal must not cut short.
    """

    def __init__(self) -> None:
        self.signal, self.ending = 0, False
        self._since = 0.0
        self._before: dict[int, Any] = {}

    @property
    def asked(self) -> bool:
        """Whether somebody asked to stop."""
        return self.signal != 0

    @property
    def overdue(self) -> bool:
        """Whether what trains has had its time since."""
        return self.asked and time.monotonic() - self._since > GRACE_S

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.asked:
            self.signal, self._since = number, now
        elif not self.ending and now - self._since > SAME_S:
            raise KeyboardInterrupt
