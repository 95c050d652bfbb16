"""What the driver itself looks up in the store, and the one kind of row that it writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import ParamSpec, TypeVar

import pyarrow.compute as pc

from orchestrator.driver.ray.deaths import Death
from orchestrator.planning.packing import Todo
from trials.errors import ApetError
from trials.failures import InfrastructureError
from trials.store.record import Record, record
from trials.store.retry import patiently
from trials.store.store import Store

P = ParamSpec("P")
T = TypeVar("T")


class Ledger:
    """The attempts in one store, as the driver needs them. A store that hiccups is asked again, for some minutes;
    who asks gets an InfrastructureError when it can't be reached for longer than that.

    Attributes:
        patient: False while a run is being stopped: then the store is asked once.
    """

    def __init__(self, store: Store) -> None:
        self.store, self.patient = store, True

    @property
    def uri(self) -> str:
        """The store's URI, whatever the directory of who reads it."""
        uri = self.store.uri
        return uri if "://" in uri else str(Path(uri).expanduser().absolute())

    def state(self, todo: Todo) -> str | None:
        """The state of an attempt's row, None when there is none. Lists the store: for rare cases only."""
        attempts = self._ask(self.store.attempts)
        ours = pc.and_(pc.equal(attempts["trial_id"], todo.trial.trial_id), pc.equal(attempts["attempt"], todo.attempt))
        states = attempts.filter(ours)["state"].to_pylist()
        return str(states[0]) if states else None

    def lacking(self, todo: Sequence[Todo]) -> list[Todo]:
        """Those attempts that nobody has made yet: another driver's last workers may just have. Asks once."""
        attempts = self.store.attempts()
        made = dict[str, int]()
        for trial_id, attempt in zip(attempts["trial_id"].to_pylist(), attempts["attempt"].to_pylist(), strict=True):
            made[trial_id] = max(attempt, made.get(trial_id, 0))
        return [one for one in todo if one.attempt > made.get(one.trial.trial_id, -1)]

    def stored(self, attempt_id: str) -> bool:
        """Whether an attempt's row is there; looks at one file."""
        return self._ask(self.store.has, attempt_id)

    def give_up(self, todo: Todo, why: Death) -> None:
        """Write the failed row of an attempt whose worker can't: it is gone, and retries are spent."""
        row = record(
            todo.trial,
            state="failed",
            attempt=todo.attempt,
            failure_class=why.failure_class,
            error_class=why.error_class,
            error_message=why.reason,
            **todo.sources.columns(),
            sweep=todo.sweep,
            finished_at=datetime.now(UTC),
        )
        row["log_uri"] = self._ask(self.store.save_log, row["attempt_id"], why.log)
        self._ask(self._append, row)

    def _ask(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self.patient:
            return patiently(call, *args, **kwargs)
        try:
            return call(*args, **kwargs)
        except (ApetError, OSError) as error:
            raise InfrastructureError(str(error)) from error

    def _append(self, row: Record) -> None:
        """Write a row once: an attempt to write that failed may have left it."""
        if not self.store.has(row["attempt_id"]):
            self.store.append(row, [])
