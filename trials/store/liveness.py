"""Heartbeats of live runs, and the wish to stop one: small files under ``runs/``.

Nothing of this is a result; all of it may be deleted at any time.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from trials.errors import ApetError
from trials.store.files import Files

OLD_S = 86400.0  # a live run writes several times a minute; clocks don't differ by a day
FRESH_S = 60.0  # a heartbeat older than this is of a worker that is gone


def beat(files: Files, run_id: str, worker_id: str, payload: Mapping[str, Any]) -> None:
    """Say that a worker is alive, and on what.

    ``payload["trials"]`` is the trial ids, or id → details; with ``backbone`` and ``task``, which status counts by, and
    ``host``.
    """
    files.write(_beat(run_id, worker_id), json.dumps(payload).encode())


def end_beat(files: Files, run_id: str, worker_id: str) -> None:
    """Say that a worker has nothing in hand any more."""
    files.delete(_beat(run_id, worker_id))


def running(files: Files, max_age_s: float = FRESH_S) -> dict[str, dict[str, Any]]:
    """Trials with a fresh heartbeat: id → payload, with ``run_id``, ``worker_id`` and ``age_s``.

    A trial whose worker was lost may have two for a while: the youngest counts.
    """
    found: dict[str, dict[str, Any]] = {}
    for run_id, worker_id, age, payload in sorted(_beats(files, max_age_s), key=lambda beat: -beat[2]):
        trials = payload.pop("trials", ())
        details = trials if isinstance(trials, dict) else {trial_id: {} for trial_id in trials}
        for trial_id, detail in details.items():
            found[trial_id] = {**payload, **detail, "run_id": run_id, "worker_id": worker_id, "age_s": age}
    return found


def request_stop(files: Files, run_id: str) -> None:
    """Ask the workers of a run to end at their next batch."""
    files.write(f"runs/{_name(run_id)}/stop", b"")


def stop_requested(files: Files, run_id: str) -> bool:
    """Whether somebody asked a run to stop."""
    return files.exists(f"runs/{_name(run_id)}/stop")


def end_run(files: Files, run_id: str) -> None:
    """Delete everything of a run that is over."""
    files.delete_folder(f"runs/{_name(run_id)}")


def clear_runs(files: Files, max_age_s: float = OLD_S) -> None:
    """Delete what runs left that were killed, or whose machine went away: nobody wrote there for so long."""
    now = time.time()
    for name, touched in files.touched("runs").items():
        if now - touched > max_age_s:
            files.delete_folder(f"runs/{name}")


def _beats(files: Files, max_age_s: float) -> Iterator[tuple[str, str, float, dict[str, Any]]]:
    """Fresh heartbeats; by the files' times, since they need no reading of the many old ones."""
    now = time.time()
    for entry in files.listing("runs"):
        _, run_id, *rest = entry.path.split("/")
        if len(rest) != 1 or not rest[0].endswith(".json") or now - entry.modified > max_age_s:
            continue
        try:
            payload = json.loads(files.read(entry.path))
        except (FileNotFoundError, ValueError):  # ended between the listing and now
            continue
        yield run_id, rest[0].removesuffix(".json"), max(0.0, now - entry.modified), payload


def _beat(run_id: str, worker_id: str) -> str:
    return f"runs/{_name(run_id)}/{_name(worker_id)}.json"


def _name(value: str) -> str:
    if not value or value.startswith((".", "_")) or "/" in value:
        raise ApetError(f"{value!r} names no run or worker: letters, digits, '-' and '.', not first")
    return value
