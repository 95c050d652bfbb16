"""What a gang makes of packs: its ranks as functions that :func:`ranks.on_ranks` calls, and comparisons with one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from four_for_tests import FULL
from ranks import on_ranks
from safetensors.torch import load
from worker_for_tests import rows_of

from trials.errors import ApetError
from trials.pack import Pack
from trials.store.store import Store
from workers import worker as workers
from workers.engines.whole import WholeTensors
from workers.gang.gang import Gang
from workers.gang.short import ShortOfMemory
from workers.modules.model import PackModel
from workers.worker import Worker, never

Told = list[tuple[int, list[tuple[str, str]]]]  # step by step the trials that have ended, and how
TOLERANCE = 1e-5  # of losses and θ: sums over ranks are rounded in another order


def ganged(pack: Pack, ranks: int) -> Pack:
    return replace(pack, setup=replace(pack.setup, ranks=ranks))


def gang_runs(ranks: int, store: Store, *packs: Pack, **options: Any) -> list[list[Told]]:
    """What each rank tells of each pack; see :func:`run_packs`."""
    plain = [ganged(pack, ranks).to_json() for pack in packs]
    return on_ranks(ranks, run_packs, store.uri, plain, options)


def run_packs(gang: Gang, store: str, packs: Sequence[str], options: Mapping[str, Any]) -> list[Told]:
    """One rank's share of some packs, one after the other.

    Args:
        options: ``stops`` (rank, call): asked at its call of that number, that rank is to stop. ``fault`` (rank, name,
            value): what :func:`faulty` does there. ``limits``: the first pack's.
    """
    worker, told = Worker(Store(store), gang=gang), []
    rank, name, value = options.get("fault", (None, "", None))
    with faulty(name, value) if rank in (gang.rank, "all") else faulty("", None):
        limits = options.get("limits")
        for text in packs:
            stops, calls = options.get("stops", (None, 0)), iter(range(1000))
            stop = (lambda calls=calls, at=stops[1]: next(calls) == at) if stops[0] == gang.rank else never
            told.append(
                [
                    (p.step, [(e.trial_id, e.state) for e in p.ended])
                    for p in worker.run(Pack.from_json(text), stop, limits)
                ]
            )
            limits = None
    return told


@contextmanager
def faulty(name: str, value: Any) -> Iterator[None]:
    """A rank on which something is wrong: ``memory`` for more than so many slices or rows, or none at all, ..."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "free_bytes", lambda device: 0)  # nothing is kept, which would go first
        if name == "memory":
            patch.setattr(PackModel, "forward", short(PackModel.forward, *value))
        elif name == "scoring":
            for method in ("predict", "generate"):
                patch.setattr(PackModel, method, short(getattr(PackModel, method), *value))
        elif name == "moments":
            patch.setattr(WholeTensors, "values", short_of(WholeTensors.values, value))
        elif name == "environment":
            patch.setenv(*value)
        elif name == "missing":
            patch.setattr(workers, "verify", unreadable)
        yield


def short(method: Callable[..., Any], slices: int, rows: int) -> Callable[..., Any]:
    """A pass without room for more."""

    def inner(self: PackModel, batch: Any, *rest: Any) -> Any:
        found = method(self, batch, *rest)
        if len(self.active) > slices or len(batch["input_ids"]) > rows:
            raise FULL
        return found

    return inner


def short_of(method: Callable[..., Any], groups: int) -> Callable[..., Any]:
    """An engine without room for the best values of more trials."""

    def inner(self: Any, group: int) -> Any:
        if len(self._optimizer.param_groups) > groups:
            raise FULL
        return method(self, group)

    return inner


def unreadable(pack: Pack) -> None:
    raise ApetError("folder:/there: no such folder")


def short_of_memory(gang: Gang, store: str, pack: str, fault: Any, said: str) -> None:
    """A rank on which memory runs out where nobody can be asked writes down the limits that it ends with."""
    try:
        run_packs(gang, store, [pack], {"fault": fault})
    except ShortOfMemory as error:
        Path(said).write_text(json.dumps(error.limits))
        raise


def numbers(store: Store, trial_id: str) -> dict[str, Any]:
    """What a row says that isn't rounded: scores, steps, counts."""
    names = ("state", "validation_score", "test_score", "metrics", "transfer", "best_step", "steps_done", "tokens")
    more = ("count_actual", "diverged_at", "micro_batch", "error_class", "failure_class")
    row = rows_of(store)[trial_id]
    return {name: row[name] for name in (*names, *more)}


def losses(store: Store, trial_id: str) -> list[float]:
    """At every evaluation, and the last one."""
    curve = sorted((p["step"], p["loss"]) for p in store.curves().to_pylist() if p["trial_id"] == trial_id)
    return [loss for _, loss in curve] + [rows_of(store)[trial_id]["train_loss"] or 0.0]


def theta(store: Store, trial_id: str) -> list[torch.Tensor]:
    """What a trial has trained, at its best step."""
    return [x for _, x in sorted(load(store.load_module(rows_of(store)[trial_id]["module_uri"])).items())]
