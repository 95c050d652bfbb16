"""The store: a directory or bucket of Parquet files that holds attempts and learning curves.

One attempt is one immutable file, written once, so that no lock, no manifest and no database is needed:
readers list, workers add, merging two stores is copying files. Layout, below the store's root::

    attempts/<2 hex>/<attempt_id>.parquet       one row, see trials.store.record.SCHEMA
    curves/<2 hex>/<attempt_id>.parquet         its learning curve, trials.store.record.CURVES
    modules/<2 hex>/<attempt_id>.safetensors    the trained module of its best step
    logs/<2 hex>/<attempt_id>.txt               the traceback of a failed attempt
    checkpoints/<2 hex>/<trial_id>.safetensors  of trials that are not done
    sweeps/<name>-<8 hex>.yaml                  sweeps as run
    runs/<run_id>/                              heartbeats of live runs
    calibration/<weights>-<device>-<settings>.json   pack sizes as measured

`pandas.read_parquet(STORE + "/attempts")` reads all attempts without this code.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa

from trials.errors import ApetError
from trials.store import liveness, views
from trials.store.calibration import Calibrations
from trials.store.files import Files
from trials.store.reading import Reader
from trials.store.record import CURVES, SCHEMA, Record, attempt_table, curve_table
from trials.store.seal import parquet

_STATES = pa.schema([SCHEMA.field(n) for n in ("trial_id", "attempt_id", "attempt", "state", "schema_version")])


class Store:
    """The attempts and curves below a path or URI.

    Reading a store that isn't there is an error; the first :meth:`append` makes it, or ``create``.

    Args:
        uri: a local path or a URI that pyarrow knows (``s3://``, ``gs://``, …).
        create: make it now, and make sure that it can be written.
        filesystem: a pyarrow file system, for what no URI can say; ``uri`` is then a path on it.

    Raises:
        ApetError: ``uri`` is a file or of no known kind, or, with ``create``, can't be written.
    """

    def __init__(self, uri: str | os.PathLike[str], create: bool = False, *, filesystem: Any = None) -> None:
        self.uri = os.fspath(uri)
        self._files = Files(uri, filesystem)
        self._reader = Reader(self._files)
        if create:
            self._files.make_folder("attempts")
            self._files.probe()

    def __repr__(self) -> str:
        return f"Store({self.uri!r})"

    @property
    def folder(self) -> Path | None:
        """Where it lies on a local disk; None elsewhere."""
        return Path(self._files.root or "/") if self._files.is_local else None

    def exists(self) -> bool:
        """Whether there is a store; reading one that isn't there is an error."""
        return self._reader.there()

    def check(self) -> None:
        """Make sure that there is a store.

        Raises:
            ApetError: there is none.
        """
        self._reader.check()

    # Rows.

    def append(self, row: Record, curve: list[dict[str, Any]] | None = None) -> None:
        """Write one attempt: its curve, then its row, each at once or not at all.

        Args:
            row: from ``trials.store.record.record``, ended: its ``state`` is set.
            curve: points with ``step``, ``split``, ``metric``, ``value``, ``loss``, ``seconds``; ids are filled in.

        Raises:
            ApetError: the store can't be written.
        """
        path = _path("attempts", row["attempt_id"], "parquet")
        data = parquet(attempt_table(row))
        if self._files.exists(path):  # written by a try that was told it had failed
            assert self._files.read(path) == data, f"{path} is there with another content: an attempt is written once"
            return
        if curve:
            self._files.write(_path("curves", row["attempt_id"], "parquet"), parquet(curve_table(row, curve)))
        self._files.write(path, data)

    def has(self, attempt_id: str) -> bool:
        """Whether an attempt's own file is there; looks at nothing else, so it's cheap in a large store."""
        return self._files.exists(_path("attempts", attempt_id, "parquet"))

    def attempts(self) -> pa.Table:
        """Every attempt, one row each, in the columns of ``trials.store.record.SCHEMA``.

        Raises:
            ApetError: no store, a file that isn't ours, or one of a newer schema.
        """
        return self._reader.table("attempts", SCHEMA, single=True)

    def curves(self) -> pa.Table:
        """The learning curves of every attempt, in the columns of ``trials.store.record.CURVES``."""
        curves, attempts = self._reader.table("curves", CURVES), self.attempts()
        known = np.isin(views.column(curves, "attempt_id"), views.column(attempts, "attempt_id"))
        return curves.filter(pa.array(known, pa.bool_()))  # a worker that died before its row leaves a curve

    def trials(self) -> pa.Table:
        """The visible row of every trial, by id, and two more columns, ``cell_id`` and ``curve_id``."""
        return views.with_groups(views.visible(self.attempts()))

    def selected(self) -> pa.Table:
        """Of the visible rows, those of the learning rate best on validation, chosen per cell over its seeds."""
        return views.selected(self.trials())

    def transfers(self) -> pa.Table:
        """One line per visible row and target task, with ``target``, ``target_score`` and ``relative``."""
        trials = self.trials()
        return views.transfers(trials, views.selected(trials))

    def visible(self) -> dict[str, tuple[str, int]]:
        """Every trial's id → the state of its visible row, and how many attempts there were."""
        attempts = self._reader.table("attempts", _STATES, single=True)
        rows = views.visible(attempts)
        ids, counts = np.unique(views.column(attempts, "trial_id"), return_counts=True)
        assert list(ids) == rows["trial_id"].to_pylist(), "visible rows come by id, one each"
        return dict(zip(ids, zip(rows["state"].to_pylist(), counts.tolist(), strict=True), strict=True))

    def resolve(self, prefix: str) -> str:
        """The id of the one trial whose id begins with ``prefix``.

        Raises:
            ApetError: no trial's id does, or several do.
        """
        ids: set[str] = set(self.attempts()["trial_id"].to_pylist())  # whoever resolves an id reads the rows next
        found = sorted(trial_id for trial_id in ids if trial_id.startswith(prefix)) if prefix else []
        if len(found) == 1:
            return found[0]
        if not found:
            raise ApetError(f'no trial {prefix!r} in {self.uri}; `apet query "select trial_id from trials"` lists them')
        raise ApetError(f"{prefix!r} begins the ids of {len(found)} trials: {', '.join(found[:8])}; give more digits")

    # Other files, each written whole.

    def save_module(self, trial_id: str, attempt_id: str, data: bytes) -> str:
        """Keep the trained module of an attempt; the result goes into its row as ``module_uri``."""
        assert attempt_id.startswith(trial_id), f"{attempt_id} is no attempt at {trial_id}"
        return self._save(_path("modules", attempt_id, "safetensors"), data)

    def load_module(self, uri: str) -> bytes:
        """A trained module, by its row's ``module_uri``.

        Raises:
            ApetError: it isn't in this store.
        """
        return self._load(uri)

    def save_log(self, attempt_id: str, text: str) -> str:
        """Keep the log of an attempt; the result goes into its row as ``log_uri``."""
        return self._save(_path("logs", attempt_id, "txt"), text.encode())

    def load_log(self, uri: str) -> str:
        """A log, by its row's ``log_uri``.

        Raises:
            ApetError: it isn't in this store.
        """
        return self._load(uri).decode(errors="replace")

    def save_sweep(self, name: str, text: str) -> str:
        """Keep a sweep as it was run, the same twice in one file.

        Args:
            name: the sweep's.
            text: means the same anywhere, see ``trials.sweep.sweep.Sweep.standalone``.
        """
        return self._save(_sweep_path(name, text), text.encode())

    def sweeps(self, name: str) -> Iterator[tuple[str, str]]:
        """Every sweep of a name as it was run, the last first: its path or URI, as commands take it, and its text.

        Raises:
            ApetError: one is damaged.
        """
        ours = re.compile(rf"sweeps/{re.escape(_escaped(name))}-[0-9a-f]{{8}}\.yaml")
        found = [entry for entry in self._files.listing("sweeps") if ours.fullmatch(entry.path)]
        for entry in sorted(found, key=lambda entry: (entry.modified, entry.path), reverse=True):
            text = self._load(entry.path).decode(errors="replace")
            if entry.path not in (_sweep_path(name, text), _older_sweep_path(name, text)):
                raise ApetError(
                    f"store {self.uri}: {entry.path} is damaged: it isn't the sweep that its name is made "
                    "of; copy it again, or move it away"
                )
            yield self._files.address(entry.path), text

    def load_sweep(self, name: str) -> str | None:
        """The text of a sweep as it was run last, None where there is none of this name."""
        return next((text for _, text in self.sweeps(name)), None)

    def save_checkpoint(self, trial_id: str, data: bytes) -> str:
        """Keep the state of a trial that is not done; replaces the one before."""
        return self._save(_path("checkpoints", trial_id, "safetensors"), data)

    def load_checkpoint(self, trial_id: str) -> bytes | None:
        """The last state of a trial that is not done, None where there is none."""
        try:
            return self._files.read(_path("checkpoints", trial_id, "safetensors"))
        except FileNotFoundError:
            return None

    def checkpoint_file(self, trial_id: str) -> str:
        """Where a trial's checkpoint is, or would be: a path, or a URI."""
        return self._files.address(_path("checkpoints", trial_id, "safetensors"))

    def drop_checkpoint(self, trial_id: str) -> None:
        """Forget a trial's checkpoint, if there is one."""
        self._files.delete(_path("checkpoints", trial_id, "safetensors"))

    def calibrations(self) -> Calibrations:
        """Pack sizes that workers have measured, here and in this machine's cache."""
        return Calibrations(self._files)

    # Live runs.

    def beat(self, run_id: str, worker_id: str, payload: Mapping[str, Any]) -> None:
        """Say that a worker is alive; ``payload["trials"]`` is the ids in hand, or a dict of id → details."""
        liveness.beat(self._files, run_id, worker_id, payload)

    def end_beat(self, run_id: str, worker_id: str) -> None:
        """Say that a worker has nothing in hand any more."""
        liveness.end_beat(self._files, run_id, worker_id)

    def running(self) -> dict[str, dict[str, Any]]:
        """Trials with a heartbeat younger than a minute: id → its payload, run, worker and ``age_s``."""
        return liveness.running(self._files)

    def request_stop(self, run_id: str) -> None:
        """Ask the workers of a run to end at their next batch."""
        liveness.request_stop(self._files, run_id)

    def stop_requested(self, run_id: str) -> bool:
        """Whether somebody asked a run to stop."""
        return liveness.stop_requested(self._files, run_id)

    def end_run(self, run_id: str) -> None:
        """Delete heartbeats and stop request of a run that is over."""
        liveness.end_run(self._files, run_id)

    def clear_runs(self) -> None:
        """Delete what killed runs left, a day after their last heartbeat."""
        liveness.clear_runs(self._files)

    # Helpers.

    def _save(self, path: str, data: bytes) -> str:
        self._files.write(path, data)
        return path

    def _load(self, uri: str) -> bytes:
        try:
            return self._files.read(uri)
        except FileNotFoundError:
            raise ApetError(f"no {uri} in {self.uri}; was the store copied without that folder?") from None


def _path(folder: str, name: str, ending: str) -> str:
    return f"{folder}/{name[:2]}/{name}.{ending}"


def _sweep_path(name: str, text: str) -> str:
    digest = hashlib.sha256(f"{name}\n{text}".encode()).hexdigest()[:8]  # `A` and `a` may be one name to a disk
    return f"sweeps/{_escaped(name)}-{digest}.yaml"


def _older_sweep_path(name: str, text: str) -> str:
    """Where releases before names were escaped kept a sweep."""
    return f"sweeps/{_escaped(name)}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.yaml"


def _escaped(name: str) -> str:
    """A sweep's name as the beginning of a file's: no two become one, and none is hidden."""
    safe = quote(name, safe="")
    return f"%{ord(safe[0]):02X}{safe[1:]}" if safe.startswith((".", "_")) else safe
