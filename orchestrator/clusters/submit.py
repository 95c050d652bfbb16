"""``submit``: hands a command to a cluster's head, and follows it for as long as somebody looks."""

from __future__ import annotations

import shlex
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING

from orchestrator.clusters.file import ClusterFile
from orchestrator.clusters.job import TIMED_OUT, Job
from orchestrator.clusters.tunnel import dashboard, is_address
from orchestrator.text import duration
from trials.errors import ApetError

if TYPE_CHECKING:
    from orchestrator.driver.ray.jobs import End, Jobs

AGAIN_S, TRIES = 10.0, 30  # a laptop that wakes up finds its network within minutes
INTERRUPTED, STOPPED = 128 + signal.SIGINT, 128 + signal.SIGTERM
Say = Callable[[str], object]


def check(job: Job, cluster: str, folders: Mapping[str, Sequence[object]]) -> None:
    """Refuse what the cluster's machines won't see, and a time that is none.

    Args:
        job: to run there.
        cluster: a file of ``ray up``, or a dashboard's address.
        folders: on this machine, by what names them.

    Raises:
        ApetError: a store on this machine's disk; folders of this machine, where the cluster's are rented; hours that
            aren't positive; no such file, or none of ``ray up``.
    """
    if job.max_hours is not None and not 0 < job.max_hours < inf:
        raise ApetError(f"--max-hours {job.max_hours:g}: more than 0, such as 12 or 0.5")
    rented = not is_address(cluster) and ClusterFile.load(cluster).kind != "local"
    if "://" not in job.store and (rented or not job.store.startswith("/")):
        where = "rented machines share no disk" if rented else "a cluster's machines don't know this machine's folders"
        raise ApetError(
            f"--store {job.store}: {where}; give a bucket, such as --store s3://bucket/study"
            + ("" if rented else ", or the whole path of a folder that all of them see")
        )
    named = [f"{path} ({what})" for what, paths in folders.items() for path in paths]
    if rented and named:
        raise ApetError(
            f"folders of this machine, which the cluster's don't see: {', '.join(named)}; name backbones and tasks of "
            "the hub, or run where the folders are: `apet run`, or a cluster of machines that share them"
        )


def submit(job: Job, cluster: str, *, follow: bool, say: Say, write: Callable[[str], object]) -> int:
    """Start a job on a cluster's head, or find the one that does the same; follow its log until it ends.

    Args:
        job: what to run.
        cluster: a file of ``ray up``, or a dashboard's address.
        follow: whether to wait for its end.
        say: takes a line about the job.
        write: takes what the job writes.

    Returns:
        The job's exit code: 143 where it was stopped, 130 where Ctrl-C ended the following, 0 without ``follow``.

    Raises:
        ApetError: the cluster isn't there or refuses us; a job that does something else with the same sweep and store;
            one that Ray couldn't start.
    """
    from orchestrator.driver.ray.jobs import Jobs, Lost

    job_id, lost, once = "", 0, Once(write)
    while True:
        try:
            with dashboard(cluster) as address:
                jobs = Jobs(address, cluster)
                if not job_id:
                    job_id = _begin(job, jobs, cluster, say)
                    say(_advice(job, job_id, cluster))
                    if not follow:
                        return 0
                once.again()
                return _code(jobs.follow(job_id, once), job_id, say)
        except KeyboardInterrupt:
            if not job_id:
                raise
            say(f"apet: no longer following. {_advice(job, job_id, cluster)}")
            return INTERRUPTED
        except Lost as error:
            lost += 1
            if not job_id or lost > TRIES:
                raise
            if lost == 1:
                say(f"apet: {error}; the job goes on without us. Trying again")
            time.sleep(AGAIN_S)


class Once:
    """Hands on a text that begins anew now and then, every character of it once."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write, self._known, self._at = write, 0, 0

    def again(self) -> None:
        """It begins anew."""
        self._at = 0

    def __call__(self, text: str) -> None:
        """Take the next part."""
        fresh = text[max(0, self._known - self._at) :]
        self._at += len(text)
        self._known = max(self._known, self._at)
        if fresh:
            self._write(fresh)


def _begin(job: Job, jobs: Jobs, cluster: str, say: Say) -> str:
    """Ray's id of a job that does it.

    Raises:
        ApetError: another one has the same sweep and store.
    """
    purpose = job.purpose
    for other in jobs.open():
        if all(other.purpose.get(key) == purpose[key] for key in ("apet-name", "apet-store")):
            since = f"job {other.job_id}, for {duration(other.age_s)}"
            if other.purpose.get("apet-digest") != purpose["apet-digest"]:
                raise ApetError(
                    f"{job.name} runs for {job.store} already ({since}), with other options or an edited sweep; wait "
                    f"for its end, or stop it: {_stop(other.job_id, cluster)}"
                )
            say(f"{job.name} runs for {job.store} already: {since}")
            return other.job_id
    job_id = jobs.submit(job)
    say(f"job {job_id}: {shlex.join(job.command)}")
    return job_id


def _advice(job: Job, job_id: str, cluster: str) -> str:
    """How to look at a job and how to stop it."""
    look = shlex.join(["apet", "status", *job.look, "--store", job.store, "--watch"])
    down = "; the cluster ends itself a minute after it" if job.down else ""
    return (
        f"It goes on without this machine{down}.\n"
        f"  look:   {look}\n"
        "  log:    this command again\n"
        f"  stop:   {_stop(job_id, cluster)}"
    )


def _stop(job_id: str, cluster: str) -> str:
    """The command that stops a job: it keeps checkpoints."""
    stop = f"RAY_AUTH_MODE=token ray job stop {job_id}"
    return f"{stop} --address {cluster}" if is_address(cluster) else f"ray exec {cluster} {shlex.quote(stop)}"


def _code(end: End, job_id: str, say: Say) -> int:
    """The exit code of a job that has ended.

    Raises:
        ApetError: it has none, as its command never began.
    """
    if end.status == "STOPPED" or end.code == TIMED_OUT:
        say(f"apet: job {job_id} was stopped; what it had begun goes on from its checkpoints: the same command again")
        return STOPPED
    if end.status == "SUCCEEDED":
        return 0
    if end.code is None:
        raise ApetError(f"job {job_id} came to no end of its own: {end.message}")
    return end.code if end.code >= 0 else 128 - end.code
