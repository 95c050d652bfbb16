"""From a trial that has ended to its row: module and answers first, then the row, then the word that it is there."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, ParamSpec, TypeVar

from trials.errors import ApetError
from trials.modules.positions import layout
from trials.pack import Member, Pack
from trials.store.answers import Answered
from trials.store.record import Record, new_attempt_id, record
from trials.store.retry import patiently
from trials.store.scores import pack_scores
from trials.store.store import Store
from workers.environment import environment, peak_memory_bytes
from workers.gang.gang import ALONE, Gang
from workers.modules.file import ModuleFile
from workers.pack.progress import INTERRUPTED, Ended
from workers.pack.state import TrialState

P = ParamSpec("P")
T = TypeVar("T")
_log = logging.getLogger(__name__)


class Recorder:
    """Writes the rows, modules, logs and checkpoints of one pack.

    A store that can't be written is tried again for minutes, and what is to be written is kept until then; a trial's
    checkpoint goes only once its row is there. Every method that writes raises ``InfrastructureError`` in the end.

    Args:
        store: where they go.
        pack: the trials.
        device: cpu or cuda.
        facts: columns that all rows share; more are added as they are known.
        gang: the ranks that run the pack, of which a row says the most memory that any took.

    Attributes:
        facts: likewise.
        load_s: seconds of loading that no row has yet: the open trials share them.
    """

    def __init__(self, store: Store, pack: Pack, device: str, facts: Record, gang: Gang = ALONE) -> None:
        self.pack, self.facts, self.load_s = pack, facts, 0.0
        self._store, self.device, self._gang = store, device, gang
        self._attempts = {m.trial.trial_id: new_attempt_id(m.trial.trial_id, m.attempt) for m in pack.members}
        self._started, self._began = datetime.now(UTC), perf_counter()
        self._told_s = 0.0  # of the pack's wall time, what trials that are done have taken
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
            "right": _right(state),
        }
        return self._ended(state.member, columns, state.curve, state.answered)

    def failed(self, member: Member, error: Exception, failure_class: str) -> Ended:
        """A failed attempt is a row too, with its traceback beside it.

        Args:
            member: the trial.
            error: as it was caught.
            failure_class: of ``trials.failures``, by what was being done.
        """
        text = "".join(traceback.format_exception(error))
        columns: Record = {
            "state": "failed",
            "failure_class": failure_class,
            "error_class": type(error).__name__,
            "error_message": str(error).strip() or repr(error),
            "log_uri": self._write(self._store.save_log, self._attempts[member.trial.trial_id], text),
        }
        return self._ended(member, columns, [], {})

    def interrupted(self, member: Member) -> Ended:
        """A trial that goes on from its checkpoint another time: no row."""
        trial_id, wall_s = member.trial.trial_id, self._share_s()
        self._done.add(trial_id)
        return Ended(trial_id, INTERRUPTED, wall_s=wall_s, attempt_id=self._attempts[trial_id])

    def save(self, trial_id: str, checkpoint: bytes) -> None:
        """Keep the checkpoint of a trial that still trains."""
        self._write(self._store.save_checkpoint, trial_id, checkpoint)

    def saved(self, trial_id: str) -> bytes | None:
        """A trial's last checkpoint, None where there is none."""
        return patiently(self._store.load_checkpoint, trial_id)

    def checkpoint_file(self, trial_id: str) -> str:
        """Where a trial's checkpoint is, for people."""
        return self._store.checkpoint_file(trial_id)

    def _ended(
        self, member: Member, columns: Record, curve: list[dict[str, Any]], answered: Mapping[str, Answered]
    ) -> Ended:
        """Write the row, and only then say that the trial has ended."""
        trial_id, wall_s, load_s = member.trial.trial_id, self._share_s(), self.load_s / len(self.open())
        row = self._row(member, {**columns, "load_s": load_s, "wall_s": wall_s})
        self._write(self._store.append, row, curve, answered)
        self.load_s -= load_s
        self._done.add(trial_id)
        self._drop_checkpoint(trial_id)
        return Ended(
            trial_id,
            row["state"],
            row["test_score"],
            row["error_message"],
            wall_s,
            row["load_s"],
            row["attempt_id"],
            row["failure_class"],
        )

    def _share_s(self) -> float:
        """An open trial's share of the pack's wall time, which all share equally while they are open.

        What no trial that is done has taken is what those that are open have gathered, each as much as any other.
        """
        share = (perf_counter() - self._began - self._told_s) / len(self.open())
        self._told_s += share
        return share

    def _write(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """The one place that writes."""
        return patiently(call, *args, **kwargs)

    def _drop_checkpoint(self, trial_id: str) -> None:
        """One that stays costs some bytes: the row is there, and nobody will look for it."""
        try:
            self._store.drop_checkpoint(trial_id)
        except (ApetError, OSError) as error:
            _log.warning("the checkpoint of trial %s, which is done, stays: %s", trial_id, error)

    def _module(self, state: TrialState) -> str | None:
        """The trained module of the best step: θ, and the head if it was trained."""
        trial = state.member.trial
        if trial.method.name == "full" or not state.best:
            return None
        assert state.best_step is not None, "a best step has its tensors"
        digest, precision = self.facts["weights_digest"], self.facts["precision"]
        data = ModuleFile(trial, state.best_step, digest, precision, *state.best).to_bytes()
        return self._write(self._store.save_module, trial.trial_id, self._attempts[trial.trial_id], data)

    def _row(self, member: Member, columns: Record) -> Record:
        shared: Record = {
            **self.pack.sources.columns(),
            "attempt": member.attempt,
            "attempt_id": self._attempts[member.trial.trial_id],
            "sweep": self.pack.sweep,
            "pack_id": self.pack.pack_id,
            "pack_size": len(self.pack.members),
            "device": self.device,
            "peak_memory_bytes": self._gang.most(peak_memory_bytes(self.device)),
            "started_at": self._started,
            "finished_at": datetime.now(UTC),
        }
        return record(member.trial, **{**shared, **environment(), **self.facts, **columns})


class Onlooker(Recorder):
    """The recorder of a rank above 0: trials end there as they do on rank 0, which alone writes."""

    def saved(self, trial_id: str) -> bytes | None:
        """None: the first rank reads it for all."""
        return None

    def _write(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Nothing."""
        return None

    def _drop_checkpoint(self, trial_id: str) -> None:
        """Nothing."""


def _right(state: TrialState) -> bytes | None:
    """Scores of the test rows of the trial's own task; None where it has none."""
    answered = state.answered.get(state.member.trial.task.name)
    return None if answered is None else pack_scores(answered.scores)


def _operations(state: TrialState) -> dict[str, int] | None:
    """Scalars given to each operation; None for ``full``."""
    trial = state.member.trial
    return None if trial.method.name == "full" else layout(trial, values=False).given
