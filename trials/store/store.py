"""The store: a directory or bucket of Parquet files that holds attempts, learning curves and answers.

One attempt is one immutable file, written once, so that no lock, no manifest and no database is needed:
readers list, workers add, merging two stores is copying files. Layout, below the store's root::

    attempts/<2 hex>/<attempt_id>.parquet       one row, see trials.store.record.SCHEMA
    curves/<2 hex>/<attempt_id>.parquet         its learning curve, trials.store.record.CURVES
    answers/<2 hex>/<attempt_id>.parquet        its answers to the test rows, trials.store.answers.ANSWERS
    answers/untrained/<key>.parquet             those of the backbone alone, trials.store.answers.UNTRAINED
    modules/<2 hex>/<attempt_id>.safetensors    the trained module of its best step
    logs/<2 hex>/<attempt_id>.txt               the traceback of a failed attempt
    checkpoints/<2 hex>/<trial_id>.safetensors  of trials that are not done
    sweeps/<name>-<8 hex>.yaml                  sweeps as run
    runs/<run_id>/                              heartbeats of live runs
    calibration/<weights>-<device>-<settings>.json   pack sizes as measured

`pandas.read_parquet(STORE + "/attempts")` reads all attempts without this code.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from trials.errors import ApetError
from trials.store import liveness, sweeps, transfers, untrained, views
from trials.store.answers import ANSWERS, UNTRAINED, Answered, answer_table
from trials.store.calibration import Calibrations
from trials.store.files import Files
from trials.store.reading import Reader
from trials.store.record import CURVES, SCHEMA, Record, attempt_table, curve_table
from trials.store.seal import parquet

Curve = list[dict[str, Any]]
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

    def append(self, row: Record, curve: Curve | None = None, answered: Mapping[str, Answered] | None = None) -> None:
        """Write one attempt: its answers and its curve, then its row, each at once or not at all.

        Args:
            row: from ``trials.store.record.record``, ended: its ``state`` is set.
            curve: points with ``step``, ``split``, ``metric``, ``value``, ``loss``, ``seconds``; ids are filled in.
            answered: by task what it answered to the test rows.

        Raises:
            ApetError: the store can't be written.
        """
        path = _path("attempts", row["attempt_id"], "parquet")
        data = parquet(attempt_table(row))
        if self._files.exists(path):  # written by a try that was told it had failed
            assert self._files.read(path) == data, f"{path} is there with another content: an attempt is written once"
            return
        if answered:
            self._files.write(_path("answers", row["attempt_id"], "parquet"), parquet(answer_table(row, answered)))
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
        return self._of_attempts(self._reader.table("curves", CURVES))

    def answers(self) -> pa.Table:
        """What every attempt answered to the test rows, in the columns of ``trials.store.answers.ANSWERS``."""
        return self._of_attempts(self._reader.table("answers", ANSWERS, without=untrained.FOLDER))

    def untrained(self) -> pa.Table:
        """What backbones alone answered to the test rows, in the columns of ``trials.store.answers.UNTRAINED``."""
        return self._reader.table(untrained.FOLDER, UNTRAINED)

    def answers_of(self, attempt_id: str) -> pa.Table:
        """What one attempt answered; reads its own file alone, where it has one still."""
        if (own := self._reader.file(_path("answers", attempt_id, "parquet"), ANSWERS)) is not None:
            return own
        return (every := self.answers()).filter(pc.equal(every["attempt_id"], attempt_id))

    def trials(self) -> pa.Table:
        """The visible row of every trial, by id, and two more columns, ``cell_id`` and ``curve_id``."""
        return views.with_groups(views.visible(self.attempts()))

    def selected(self) -> pa.Table:
        """Of the visible rows, those of the learning rate best on validation, chosen per cell over its seeds."""
        return views.selected(self.trials())

    def transfers(self) -> pa.Table:
        """One line per visible row and target task, see ``trials.store.transfers``."""
        trials = self.trials()
        return transfers.transfers(trials, views.selected(trials))

    def visible(self) -> dict[str, tuple[str, int]]:
        """Every trial's id → the state of its visible row, and how many attempts there were."""
        attempts = self._reader.table("attempts", _STATES, single=True)
        rows = views.visible(attempts)
        counts = Counter(attempts["trial_id"].to_pylist())
        ids, states = (rows[name].to_pylist() for name in ("trial_id", "state"))
        return {trial_id: (state, counts[trial_id]) for trial_id, state in zip(ids, states, strict=True)}

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

    def save_untrained(self, key: str, task: str, answered: Answered) -> None:
        """Keep what the untrained module of a key (``trials.keys.untrained``) answers to the test rows of a task."""
        untrained.save(self._files, key, task, answered)

    def load_untrained(self, key: str, rows: int) -> Answered | None:
        """What the untrained module of a key answers to so many rows, None where that isn't known."""
        return untrained.load(self._reader, key, rows)

    def save_module(self, trial_id: str, attempt_id: str, data: bytes) -> str:
        """Keep the trained module of an attempt; the result goes into its row as ``module_uri``."""
        assert attempt_id.startswith(trial_id), f"{attempt_id} is no attempt at {trial_id}"
        return self._save(_path("modules", attempt_id, "safetensors"), data)

    def load_module(self, uri: str) -> bytes:
        """A trained module, by its row's ``module_uri``.

        Raises:
            ApetError: it isn't in this store.
        """
        return self._files.kept(uri)

    def save_log(self, attempt_id: str, text: str) -> str:
        """Keep the log of an attempt; the result goes into its row as ``log_uri``."""
        return self._save(_path("logs", attempt_id, "txt"), text.encode())

    def load_log(self, uri: str) -> str:
        """A log, by its row's ``log_uri``.

        Raises:
            ApetError: it isn't in this store.
        """
        return self._files.kept(uri).decode(errors="replace")

    def save_sweep(self, name: str, text: str) -> str:
        """Keep a sweep as it was run, the same twice in one file.

        Args:
            name: the sweep's.
            text: means the same anywhere, see ``trials.sweep.sweep.Sweep.standalone``.
        """
        return sweeps.save(self._files, name, text)

    def sweeps(self, name: str) -> Iterator[tuple[str, str]]:
        """Every sweep of a name as it was run, the last first: its path or URI, as commands take it, and its text.

        Raises:
            ApetError: one is damaged.
        """
        return sweeps.as_run(self._files, name)

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

    def _of_attempts(self, table: pa.Table) -> pa.Table:
        """Of a table the rows whose attempt has a row: a worker that died before that leaves the rest."""
        known = self.attempts()["attempt_id"].combine_chunks()
        return table.filter(pc.is_in(table["attempt_id"], value_set=known))

    def _save(self, path: str, data: bytes) -> str:
        self._files.write(path, data)
        return path


def _path(folder: str, name: str, ending: str) -> str:
    return f"{folder}/{name[:2]}/{name}.{ending}"
