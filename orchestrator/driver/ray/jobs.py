"""Ray's jobs over HTTP: start one on a head, follow what it writes, ask how it ended."""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ray._raylet import AuthenticationTokenLoader
from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus, JobSubmissionClient

from orchestrator.clusters.job import CHECKPOINTS_S, SCRIPT, WAIT, Job
from trials.errors import ApetError

ELSEWHERE = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")  # of the environment: they go before an address that is given
SETTLE_S = 10.0  # from the end of a job's log until Ray has its exit code
CHATTY = ("dashboard.modules.dashboard_sdk", "dashboard.modules.job.sdk", "_private.runtime_env.packaging")
TOKEN = "RAY_AUTH_TOKEN, the file that RAY_AUTH_TOKEN_PATH names, or ~/.ray/auth_token"


class Lost(ApetError):
    """Nobody answers, or no longer; a job goes on without us."""


@dataclass(frozen=True)
class Open:
    """A job that has not ended: Ray's id, what :attr:`Job.purpose` said of it, seconds since it began."""

    job_id: str
    purpose: dict[str, str]
    age_s: float


@dataclass(frozen=True)
class End:
    """How a job ended: SUCCEEDED, FAILED or STOPPED; the exit code where there was one; Ray's words."""

    status: str
    code: int | None
    message: str


class Jobs:
    """The jobs of one cluster.

    Args:
        address: of its dashboard.
        name: of the cluster, for messages.

    Raises:
        Lost: nobody answers.
        ApetError: the cluster wants a token that isn't there, or another one.
    """

    def __init__(self, address: str, name: str) -> None:
        self._name = name
        loader = AuthenticationTokenLoader.instance()
        self._known = loader.has_token(ignore_auth_mode=True)
        token = {"Authorization": f"Bearer {loader.get_raw_token(ignore_auth_mode=True)}"} if self._known else {}
        for chatty in CHATTY:
            logging.getLogger(f"ray.{chatty}").setLevel(logging.WARNING)
        with self._answers(), _without(*ELSEWHERE):
            self._client = JobSubmissionClient(address, headers=token)

    def submit(self, job: Job) -> str:
        """Start a job; Ray's id of it."""
        with tempfile.TemporaryDirectory(prefix="apet-") as folder, self._answers():
            for name, text in job.contents.items():
                (Path(folder) / name).write_text(text, encoding="utf-8")
            started: str = self._client.submit_job(
                entrypoint=f"sh {SCRIPT}",
                runtime_env={"working_dir": folder, "env_vars": {WAIT: str(CHECKPOINTS_S)}},
                metadata=job.purpose,
                submission_id=job.new_id(),
            )
        return started

    def open(self) -> list[Open]:
        """Every job that has not ended."""
        with self._answers():
            found = [job for job in self._client.list_jobs() if job.submission_id and not job.status.is_terminal()]
        return [
            Open(job.submission_id, job.metadata or {}, time.time() - (job.start_time or 0) / 1000) for job in found
        ]

    def follow(self, job_id: str, write: Callable[[str], object]) -> End:
        """Hand on what a job has written and writes, from its beginning, until it ends.

        Raises:
            Lost: the connection ends before the job.
        """

        async def tail() -> None:
            async for text in self._client.tail_job_logs(job_id):
                write(text)

        with self._answers():
            asyncio.run(tail())
        deadline = time.monotonic() + SETTLE_S
        while time.monotonic() < deadline:
            with self._answers():
                info = self._client.get_job_info(job_id)
            if info.status.is_terminal():
                return End(JobStatus(info.status).value, info.driver_exit_code, info.message or "")
            time.sleep(0.2)
        raise Lost(f"the log of job {job_id} broke off")

    @contextmanager
    def _answers(self) -> Iterator[None]:
        """What Ray's client raises, in words."""
        import aiohttp
        import requests

        try:
            yield
        except AuthenticationError:
            why = (
                "403: it has another token than the one here" if self._known else "401: it wants a token, none is here"
            )
            raise ApetError(
                f"cluster {self._name} refuses us ({why}); the token that it was started with belongs into {TOKEN}"
            ) from None
        except (RuntimeError, OSError, requests.RequestException, aiohttp.ClientError) as error:
            raise Lost(f"cluster {self._name}: Ray's dashboard doesn't answer ({error})") from None


@contextmanager
def _without(*names: str) -> Iterator[None]:
    """An environment without some variables."""
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)
