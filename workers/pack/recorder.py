"""From a trial that has ended to its row: module first, then the row, then the word that it is there."""

from __future__ import annotations

import traceback
from datetime import UTC, datetime
from time import perf_counter
from typing import TYPE_CHECKING, Any

from trials.modules.positions import layout
from trials.pack import Member, Pack
from trials.store.record import Record, new_attempt_id, record
from workers.environment import environment, peak_memory_bytes
from workers.modules.file import ModuleFile
from workers.pack.progress import Ended
from workers.pack.state import TrialState

if TYPE_CHECKING:
    from workers.worker import Worker


class Recorder:
    """Writes the rows of one pack.

    Args:
        worker: whose store, device and loading time they are.
        pack: the trials.

    Attributes:
        facts: columns that all rows share once backbone and data are there.
    """

    def __init__(self, worker: Worker, pack: Pack) -> None:
        self.worker, self.pack, self.store = worker, pack, worker.store
        self.attempts = {m.trial.trial_id: new_attempt_id(m.trial.trial_id, m.attempt) for m in pack.members}
        self.facts: Record = {}
        self._started, self._began = datetime.now(UTC), perf_counter()
        self._told_s = 0.0  # of the pack's wall time, what earlier rows have taken
        self._done: set[str] = set()

    def open(self) -> list[Member]:
        """Trials that have not been reported."""
        return [m for m in self.pack.members if m.trial.trial_id not in self._done]

    def finished(self, state: TrialState) -> Ended:
        """A trial that completed or diverged."""
        assert state.outcome is not None, "only a trial that has ended is finished"
        columns: Record = {
            "state": state.outcome,
            "validation_score": state.best_score,
            "test_score": state.test_score,
            "best_step": state.best_step,
            "steps_done": state.steps_done,
            "train_loss": state.train_loss,
            "diverged_at": state.diverged_at,
            "count_actual": state.count_actual,
            "head_parameters": state.head_parameters if state.member.trial.head else None,
            "operations": _operations(state),
            "metrics": state.metrics,
            "transfer": state.transfer,
            "tokens": state.tokens,
            "train_s": state.train_s,
            "eval_s": state.eval_s,
            "module_uri": self._module(state),
        }
        return self.ended(state.member, state.outcome, columns, state.curve)

    def failed(self, member: Member, error: Exception) -> Ended:
        """A failed attempt is a row too, with its traceback beside it."""
        text = "".join(traceback.format_exception(error))
        uri = self.store.save_log(self.attempts[member.trial.trial_id], text)
        message = str(error).strip() or repr(error)
        columns = {"state": "failed", "error_class": type(error).__name__, "error_message": message, "log_uri": uri}
        return self.ended(member, "failed", columns)

    def ended(
        self, member: Member, state: str, columns: Record | None = None, curve: list[dict[str, Any]] | None = None
    ) -> Ended:
        """Write the row, if there are ``columns``, and only then say that the trial has ended."""
        trial_id = member.trial.trial_id
        wall_s = perf_counter() - self._began - self._told_s  # a row takes what no row before it took: they sum up
        self._told_s += wall_s
        load_s = 0.0
        if columns is not None:
            load_s = self.worker.taken_load_s()
            row = self._row(member, {**columns, "load_s": load_s, "wall_s": wall_s})
            self.store.append(row, curve or [])
            self.store.drop_checkpoint(trial_id)
        self._done.add(trial_id)
        given = columns or {}
        attempt_id = self.attempts[trial_id]
        return Ended(trial_id, state, given.get("test_score"), given.get("error_message"), wall_s, load_s, attempt_id)

    def _module(self, state: TrialState) -> str | None:
        """The trained module of the best step: θ, and the head if it was trained."""
        trial = state.member.trial
        if trial.method.name == "full" or not state.best:
            return None
        assert state.best_step is not None, "a best step has its tensors"
        digest, precision = self.facts["weights_digest"], self.facts["precision"]
        saved = ModuleFile(trial, state.best_step, digest, precision, *state.best)
        return self.store.save_module(trial.trial_id, self.attempts[trial.trial_id], saved.to_bytes())

    def _row(self, member: Member, columns: Record) -> Record:
        shared: Record = {
            "weights_source": self.pack.sources.weights,
            "data_source": self.pack.sources.data,
            "transfer_sources": dict(self.pack.sources.targets),
            "attempt": member.attempt,
            "attempt_id": self.attempts[member.trial.trial_id],
            "sweep": self.pack.sweep,
            "pack_id": self.pack.pack_id,
            "pack_size": len(self.pack.members),
            "device": self.worker.device,
            "devices": 1,
            "ranks": self.pack.setup.ranks,
            "micro_batch": self.pack.setup.micro_batch,
            "threads": self.pack.setup.threads,
            "peak_memory_bytes": peak_memory_bytes(self.worker.device),
            "started_at": self._started,
            "finished_at": datetime.now(UTC),
        }
        return record(member.trial, **{**shared, **environment(), **self.facts, **columns})


def _operations(state: TrialState) -> dict[str, int] | None:
    """Scalars given to each operation; None for ``full``."""
    trial = state.member.trial
    return None if trial.method.name == "full" else layout(trial, values=False).given
