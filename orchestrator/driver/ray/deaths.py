"""Why a worker couldn't go on: what it said itself, or what Ray says of a process that died."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trials.failures import INFRASTRUCTURE, PREEMPTED, InfrastructureError
from workers.gang.verdict import GangError

ANSI = re.compile(r"\x1b\[[0-9;]*m")  # colours in Ray's messages
PID = re.compile(r"\bpid[:=]\s*(\d+)")
EXIT = re.compile(r"Worker exit type: (\w+) Worker exit detail: (.*?)(?: Some common causes| There are some|$)", re.S)
LAST_LINES = 40  # of what the process wrote to stderr
DIED = "WorkerDied"


@dataclass(frozen=True)
class Death:
    """A worker that is gone, or that can't go on.

    Args:
        error_class: of the exception, or WorkerDied.
        reason: one line.
        log: all that is known.
        failure_class: of ``trials.failures``.
        node: Ray's id of its node, empty where it isn't known.
        host: of that node, for people.
        others: nodes where its gang has ranks too.
        lost: whether one of these nodes is gone, which is then ``node``.
    """

    error_class: str
    reason: str
    log: str
    failure_class: str = INFRASTRUCTURE
    node: str = ""
    host: str = ""
    others: tuple[str, ...] = ()
    lost: bool = False


class WorkerBroken(InfrastructureError):
    """What a worker couldn't cope with, in plain values: it travels to the driver, which has no torch.

    Args:
        error_class, reason, node, host, failure_class, others: see :class:`Death`.
        log: what is known beside this exception's own traceback.
    """

    def __init__(
        self,
        error_class: str,
        reason: str,
        node: str,
        host: str,
        failure_class: str = INFRASTRUCTURE,
        log: str = "",
        others: tuple[str, ...] = (),
    ) -> None:
        super().__init__(error_class, reason, node, host, failure_class, log, others)
        self.error_class, self.reason, self.node, self.host = error_class, reason, node, host
        self.failure_class, self.log, self.others = failure_class, log, others

    def __str__(self) -> str:
        return f"{self.error_class}: {self.reason}"


def broken(error: Exception, node: str, host: str, others: tuple[str, ...] = ()) -> WorkerBroken:
    """An exception that left a worker; where it was raised from another one, that one says what happened, and where a
    rank of its gang raised it, that one.
    """
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), repr(error))
    if isinstance(error, GangError):
        return WorkerBroken(error.error_class, reason, node, host, log=error.log, others=others)
    cause = error.__cause__ if isinstance(error, InfrastructureError) and error.__cause__ else error
    return WorkerBroken(type(cause).__name__, reason, node, host, others=others)


def death(trial: Any, logs: Path | None = None) -> Death:
    """Why Tune's ``trial`` failed; its class by what Tune counted and by the exception's type.

    Args:
        trial: with its error file, and the exception, which may say its class itself.
        logs: Ray's folder of logs, if it is on this machine: what the process last wrote to stderr.
    """
    from ray.exceptions import RayTaskError

    try:
        text = Path(trial.error_file).read_text(errors="replace").partition("\n")[2]  # behind a line of Tune's own
    except (OSError, TypeError):
        text = ""
    text = ANSI.sub("", text).strip() or "the worker died and left no message"
    failure_class = INFRASTRUCTURE if trial.num_failures else PREEMPTED  # Tune doesn't count a machine taken away
    error = _error(trial)
    cause = error.cause if isinstance(error, RayTaskError) else None
    if isinstance(cause, WorkerBroken):
        log = f"{text}\n\n{cause.log}".strip()
        return Death(cause.error_class, str(cause), log, cause.failure_class, cause.node, cause.host, cause.others)
    said = explain(text, logs)
    name = type(cause).__name__ if cause is not None else DIED
    return Death(name, said.reason, said.log, failure_class)


def actor_of(trial: Any) -> str:
    """The id of the actor that Tune's ``trial`` has lost; empty where the exception doesn't say it."""
    from ray.exceptions import RayActorError

    error = _error(trial)
    return (error.actor_id or "") if isinstance(error, RayActorError) else ""


def explain(text: str, logs: Path | None = None) -> Death:
    """A process that died, in Ray's words."""
    last = [line.strip() for line in text.splitlines() if line.strip()][-1]
    stderr = _stderr(text, logs)
    log = f"{text}\n\nLast lines of its stderr:\n{stderr}" if stderr else text
    found = EXIT.search(text)
    return Death(DIED, f"the worker process died ({found[1]}): {found[2].strip()}" if found else last, log)


def _error(trial: Any) -> Exception | None:
    """The exception that Tune kept on this machine; None where it can't be read here."""
    from ray import cloudpickle

    try:
        error: Exception | None = cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())
        return error
    except Exception:  # of a class that only the worker has
        return None


def _stderr(text: str, logs: Path | None) -> str:
    pid = PID.search(text)
    if logs is None or pid is None:
        return ""
    for path in sorted(logs.glob(f"worker-*-{pid[1]}.err")):
        lines = [line for line in path.read_text(errors="replace").splitlines() if not line.startswith(":")]
        return "\n".join(lines[-LAST_LINES:]).strip()  # without Ray's own marks
    return ""
