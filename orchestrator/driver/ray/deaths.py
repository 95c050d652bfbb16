"""Why a worker was lost, from what Ray says of it: a class, one line, and everything for the log."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ANSI = re.compile(r"\x1b\[[0-9;]*m")  # colours in Ray's messages
PID = re.compile(r"\bpid[:=]\s*(\d+)")
EXIT = re.compile(r"Worker exit type: (\w+) Worker exit detail: (.*?)(?: Some common causes| There are some|$)", re.S)
RAISED = re.compile(r"^(?:\w+\.)*(\w+): .*")
LAST_LINES = 40  # of what the process wrote to stderr


@dataclass(frozen=True)
class Death:
    """A worker that is gone, or raised what it should have caught.

    Args:
        error_class: of the exception, or WorkerDied.
        reason: one line.
        log: all that is known.
    """

    error_class: str
    reason: str
    log: str


def death(trial: Any, logs: Path | None = None) -> Death:
    """Why Tune's ``trial`` failed.

    Args:
        trial: its error file has the exception.
        logs: Ray's folder of logs, if it is on this machine: what the process last wrote to stderr.
    """
    try:
        text = Path(trial.error_file).read_text(errors="replace").partition("\n")[2]  # behind a line of Tune's own
    except (OSError, TypeError):
        text = ""
    return explain(ANSI.sub("", text).strip() or "the worker died and left no message", logs)


def explain(text: str, logs: Path | None = None) -> Death:
    """What Ray's message says."""
    last = [line.strip() for line in text.splitlines() if line.strip()][-1]
    stderr = _stderr(text, logs)
    log = f"{text}\n\nLast lines of its stderr:\n{stderr}" if stderr else text
    if found := EXIT.search(text):
        return Death("WorkerDied", f"the worker process died ({found[1]}): {found[2].strip()}", log)
    raised = RAISED.match(last)
    return Death(raised[1] if raised else "WorkerDied", last, log)


def _stderr(text: str, logs: Path | None) -> str:
    pid = PID.search(text)
    if logs is None or pid is None:
        return ""
    for path in sorted(logs.glob(f"worker-*-{pid[1]}.err")):
        lines = [line for line in path.read_text(errors="replace").splitlines() if not line.startswith(":")]
        return "\n".join(lines[-LAST_LINES:]).strip()  # without Ray's own marks
    return ""
