"""A command as a job of a cluster: a small script that the head runs, whether the laptop is there or not."""

from __future__ import annotations

import hashlib
import re
import secrets
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

SCRIPT, TIMED_OUT = "job.sh", 124  # the script's name beside the files; what `timeout` exits with
CHECKPOINTS_S = 120  # from the wish to stop until a run that doesn't listen is killed
WAIT = "RAY_JOB_STOP_WAIT_TIME_S"  # Ray's own 3 seconds, from SIGTERM to SIGKILL, are too few for checkpoints
BOOTSTRAP = "~/ray_bootstrap_config.yaml"  # `ray up` leaves it on a head: how to start and to end nodes
LOCK = "~/.apet-jobs.lock"  # held, shared, while any process of a job lives; alone by what ends the cluster
ANSWERED_S = 60  # after the job's end Ray still answers those who follow it

_BEGIN = f"""\
# Written by `apet submit`; the head runs it as a job of Ray.
trap : TERM  # `ray job stop` sends it to every process of the job: the run keeps checkpoints and ends, then we do
exec 9>>{LOCK}
if ! flock --shared --nonblock 9; then
    echo "apet: this cluster ends itself after an earlier job (--down-when-done); \\`ray up\\` makes another" >&2
    exit 2
fi
"""
_DOWN = f"""\
if ! test -f {BOOTSTRAP}; then
    echo "apet: --down-when-done: \\`ray up\\` didn't start this cluster ({BOOTSTRAP} isn't there): end it yourself" >&2
    exit 2
fi
# Of no job and no session, so that it outlives whatever ends this script. Ray goes first: then nobody starts new nodes.
(setsid sh -c '
    exec 9>>{LOCK}
    flock 9
    sleep {ANSWERED_S}
    cd
    ray stop
    until ray down --yes {BOOTSTRAP}; do sleep 60; done
' >~/apet-down.log 2>&1 </dev/null 9>&- &)
"""
_LIMITED = """\
timeout --kill-after={grace} {seconds} {command}
code=$?
if test $code = {timed_out}; then
    echo "apet: --max-hours {hours:g} is over; what is finished has its rows, and the same command goes on" >&2
fi
exit $code
"""


@dataclass(frozen=True)
class Job:
    """What a head is to run.

    Args:
        name: of the sweep, or what else it does; in the job's id.
        store: where its rows go.
        command: its words.
        files: text by name, in the folder that the command runs in.
        max_hours: after so many it is stopped, with checkpoints; None: never.
        down: whether the cluster ends itself when the job has ended, whichever way.
        look: words that tell `apet status` here of which sweep it is; none: of whatever the store has.
    """

    name: str
    store: str
    command: tuple[str, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    max_hours: float | None = None
    down: bool = False
    look: tuple[str, ...] = ()

    @property
    def script(self) -> str:
        """What the head runs, for ``sh``."""
        command = shlex.join(self.command)
        run = f"{command}\n"
        if self.max_hours is not None:
            seconds = max(1, round(self.max_hours * 3600))
            run = _LIMITED.format(
                grace=CHECKPOINTS_S, seconds=seconds, command=command, timed_out=TIMED_OUT, hours=self.max_hours
            )
        return f"{_BEGIN}{_DOWN if self.down else ''}{run}"

    @property
    def contents(self) -> dict[str, str]:
        """All files of the job by name, the script among them."""
        return {**self.files, SCRIPT: self.script}

    @property
    def purpose(self) -> dict[str, str]:
        """What the cluster keeps about it: two jobs of one sweep and one store meet, two of one digest are the same."""
        text = "\0".join(f"{name}\0{text}" for name, text in sorted(self.contents.items()))
        return {
            "apet-name": self.name,
            "apet-store": self.store,
            "apet-digest": hashlib.sha256(text.encode()).hexdigest()[:16],
        }

    def new_id(self) -> str:
        """A name for Ray: no two are the same."""
        safe = re.sub(r"[^A-Za-z0-9._-]", "-", self.name)
        return f"apet-{safe}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
