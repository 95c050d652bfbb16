"""What a rank does at its supervisor's orders: load the code, meet the others, run packs with them."""

from __future__ import annotations

import faulthandler
import importlib
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from trials.pack import Pack
from trials.store.store import Store
from workers import faults
from workers.environment import device_of
from workers.gang import messages as say
from workers.gang import same
from workers.gang.messages import Message
from workers.gang.processes import Processes, listen, meet

OURS = ("trials", "workers")  # loggers whose warnings one process would print

Tell = Callable[[Message], None]


class Follower:
    """Obeys.

    Args:
        tell: sends a message to the supervisor.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell

    def obey(self, order: Message, should_stop: Callable[[], bool]) -> None:
        """Do what is asked for, and say that it is done."""
        if isinstance(order, say.Start):
            module, _, name = order.worker.partition(":")
            factory = getattr(importlib.import_module(module), name)
            self._engine = order.engine
            self._make = partial(factory, Store(order.store), engine=order.engine)
            self._tell(say.Ready())
        elif isinstance(order, say.Join):
            self._join(order)
            self._tell(say.Joined())
        elif isinstance(order, say.Run):
            self._run(order, should_stop)
            self._tell(say.Done())

    def _join(self, join: say.Join) -> None:
        device_of(join.device)
        if join.port is None:
            meeting = listen(join.host, join.ranks, join.timeout_s)
            self._tell(say.Port(meeting.port))
        else:
            meeting = meet(join.host, join.port, join.ranks, join.timeout_s)
        self._gang = _Seen(self._tell, join, meeting)
        if self._gang.first:
            for name in OURS:
                logging.getLogger(name).addHandler(_Relay(self._tell))
        self._worker = self._make(gang=self._gang)

    def _run(self, run: say.Run, should_stop: Callable[[], bool]) -> None:
        pack = Pack.from_json(run.pack)
        same.check(self._gang, same.settings(pack, self._engine, run.limits))
        for progress in self._worker.run(pack, should_stop, run.limits):
            if self._gang.first:
                self._tell(say.Told(progress.to_json()))
        faulthandler.cancel_dump_traceback_later()


class _Seen(Processes):
    """The gang of a rank whose supervisor knows where it is."""

    def __init__(self, tell: Tell, join: say.Join, meeting: Any) -> None:
        super().__init__(meeting, join.rank, join.ranks, join.device, join.timeout_s, local=join.local)
        self._tell, self._timeout_s = tell, join.timeout_s

    def at(self, where: str) -> None:
        """See :class:`workers.gang.gang.Gang`. Who stays longer than the others wait leaves its stack in its log."""
        self._tell(say.At(where))
        faulthandler.dump_traceback_later(self._timeout_s)
        faults.maybe_break(self.rank, where)


class _Relay(logging.Handler):
    """Our own warnings, for the supervisor to print once."""

    def __init__(self, tell: Tell) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        """Send one."""
        self._tell(say.Said(record.getMessage()))
