"""``python -m workers.gang.rank``: one rank of a gang, a process that a supervisor starts, feeds and ends.

It does as the lines on its standard input say (:mod:`workers.gang.messages`) and answers on what was its standard
output; what libraries print goes to standard error. It never outlives its supervisor: the end of its input ends it
wherever it is, a collective call included, and on Linux the end of the thread that started it, even if it is stopped.
All that is heavy is imported behind that.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import TextIO

from trials.errors import ApetError
from trials.failures import InfrastructureError
from workers.gang import messages as say
from workers.gang.messages import Message, Trouble
from workers.gang.short import ShortOfMemory

PR_SET_PDEATHSIG = 1  # <sys/prctl.h>
FOR_THE_SUPERVISOR = ("SIGINT", "SIGTERM", "SIGHUP")  # who signals every process means the run, which will say stop
COLLECTIVE_CODE = ("torch/distributed/", "deepspeed/comm/")
COLLECTIVE_TEXT = ("gloo/transport", "ProcessGroupGloo", "NCCL")

Orders = SimpleQueue[tuple[Message, Event]]  # an order, and whether a stop was asked for behind it


def main() -> None:
    """Obey until the supervisor is gone, or until it can't go on."""
    heard, answers = _private()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    for name in FOR_THE_SUPERVISOR:
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    faulthandler.enable()
    orders: Orders = SimpleQueue()
    Thread(target=_listen, args=(heard, orders), name="orders", daemon=True).start()
    lock = Lock()

    def tell(message: Message) -> None:
        with lock:
            answers.write(say.write(message))
            answers.flush()

    try:
        from workers.gang.follower import Follower

        follower = Follower(tell)
        while True:
            order, asked = orders.get()
            follower.obey(order, asked.is_set)
    except BaseException as error:  # also a library's SystemExit
        tell(trouble(error))
        sys.stdout.flush()
        os._exit(1)  # an orderly end would wait for the others


def trouble(error: BaseException) -> Trouble:
    """What a rank says of its end."""
    chain = list(_chain(error))
    short = next((e for e in chain if isinstance(e, ShortOfMemory)), None)
    if short is not None:
        kind = say.MEMORY
    elif isinstance(error, ApetError):
        kind = say.INPUT
    else:
        kind = say.COLLECTIVE if any(map(_of_a_collective, chain)) else say.RAISED
    name = type(error.__cause__ or error).__name__
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), repr(error))
    reason = text if isinstance(error, ApetError | InfrastructureError) else f"{name}: {text}"
    log = "".join(traceback.format_exception(error))
    return Trouble(kind, name, reason, log, None if short is None else short.limits)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception, and what it was raised from."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__


def _of_a_collective(error: BaseException) -> bool:
    """Whether it is of a call that waits for other ranks: not all of these raise a type of torch's own."""
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    in_code = any(part in file for file in files for part in COLLECTIVE_CODE)
    return in_code or any(text in str(error) for text in COLLECTIVE_TEXT)


def _private() -> tuple[TextIO, TextIO]:
    """What was standard input and output, for messages alone: libraries now read nothing, and print to stderr."""
    heard, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return heard, answers


def _listen(heard: TextIO, orders: Orders) -> None:
    """Take orders until their end, which is ours, and that of what was started here."""
    asked = Event()
    for line in heard:
        order = say.read(line)
        if isinstance(order, say.Stop):
            asked.set()
        else:
            asked = Event()
            orders.put((order, asked))
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    main()
