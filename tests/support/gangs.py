"""What a gang makes of packs: its ranks as functions that :func:`ranks.on_ranks` calls, and comparisons with one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from deepspeed.runtime.zero.partition_parameters import NoGatherCoalescedHandle
from four_for_tests import FULL
from ranks import on_ranks
from safetensors.torch import load
from transformers.models.bert.modeling_bert import BertSelfAttention
from worker_for_tests import rows_of

from trials.errors import ApetError
from trials.pack import Member, Pack
from trials.store.store import Store
from workers import worker as workers
from workers.backbone import sharded
from workers.engines.whole import WholeTensors
from workers.gang.gang import Gang
from workers.gang.short import ShortOfMemory
from workers.modules.model import PackModel
from workers.worker import Worker

Told = list[tuple[int, list[tuple[str, str]]]]  # step by step the trials that have ended, and how
TOLERANCE = 1e-5  # of losses and θ: sums over ranks are rounded in another order


@dataclass
class Run:
    """Packs on one worker a rank, one after the other.

    Args:
        store: where their rows go.
        packs: as JSON, see :func:`ganged`.
        stops: a rank, and the number of its question whether to stop that is answered with yes.
        fault: a rank (or None: all), and what is wrong there while the first pack runs, see :func:`faulty`.
        limits: the first pack's.
    """

    store: Store
    packs: Sequence[Pack]
    stops: tuple[int, int] | None = None
    fault: tuple[int | None, str, Any] | None = None
    limits: Mapping[str, Any] | None = None


def gang_runs(ranks: int, *runs: Run) -> list[list[Told]]:
    """Of every run what is told of each of its packs; the same on every rank."""
    plain = [
        (run.store.uri, [ganged(pack, ranks).to_json() for pack in run.packs], run.stops, run.fault, run.limits)
        for run in runs
    ]
    first, *others = on_ranks(ranks, run_all, plain)
    assert all(told == first for told in others), "every rank tells the same"
    return first


def run_all(gang: Gang, plain: Sequence[tuple[Any, ...]]) -> list[list[Told]]:
    """One rank's share of some runs."""
    return [run_packs(gang, *one) for one in plain]


def run_packs(gang: Gang, store: str, packs: Sequence[str], stops: Any, fault: Any, limits: Any) -> list[Told]:
    """One rank's share of a run."""
    worker, calls = Worker(Store(store), gang=gang), iter(range(10_000))
    rank, name, value = fault or (None, "nothing", None)

    def stop() -> bool:
        return (gang.rank, next(calls)) == stops

    def told(text: str, limits: Any = None) -> Told:
        progress = worker.run(Pack.from_json(text), stop, limits)
        return [(p.step, [(e.trial_id, e.state) for e in p.ended]) for p in progress]

    with faulty(name if rank in (None, gang.rank) else "nothing", value):
        first = told(packs[0], limits)
    return [first, *map(told, packs[1:])]


def ganged(pack: Pack, ranks: int) -> Pack:
    return replace(pack, setup=replace(pack.setup, ranks=ranks))


@contextmanager
def faulty(name: str, value: Any) -> Iterator[None]:
    """Something wrong: no room for passes of more slices or rows, in ``training`` or ``scoring``, for more rows in the
    ``blocks`` in the midst of a pass, for the ``values`` of more trials, for a part of the weights in ``shards``, or
    once for what one process would ``gather``, the number of the time; a variable of the ``environment``; weights and
    rows that are ``unreadable``; or ``nothing``.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "free_bytes", lambda device: 0)  # nothing is kept, which would go first
        if name == "training":
            patch.setattr(PackModel, "forward", short(PackModel.forward, *value))
        elif name == "scoring":
            for method in ("predict", "generate"):
                patch.setattr(PackModel, method, short(getattr(PackModel, method), *value))
        elif name == "values":
            patch.setattr(WholeTensors, "values", short_of(WholeTensors.values, value))
        elif name == "blocks":
            patch.setattr(BertSelfAttention, "forward", short_of_rows(BertSelfAttention.forward, value))
        elif name == "gather":
            patch.setattr(NoGatherCoalescedHandle, "__init__", short_once(NoGatherCoalescedHandle.__init__, value))
        elif name == "shards":
            patch.setattr(sharded, "_parameter", no_room)
        elif name == "environment":
            patch.setenv(*value)
        elif name == "unreadable":
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


def short_of_rows(method: Callable[..., Any], rows: int) -> Callable[..., Any]:
    """A block without room for more; once autograd is there, for to score takes less."""

    def inner(self: Any, hidden: torch.Tensor, *rest: Any, **named: Any) -> Any:
        if len(hidden) > rows and torch.is_grad_enabled():
            raise FULL
        return method(self, hidden, *rest, **named)

    return inner


def short_once(method: Callable[..., Any], number: int) -> Callable[..., Any]:
    """Without room at one of its calls, for a part of what it was to do."""
    calls = iter(range(10_000))

    def inner(*args: Any) -> None:
        method(*args)
        if next(calls) == number:
            raise FULL

    return inner


def short_of(method: Callable[..., Any], groups: int) -> Callable[..., Any]:
    """An engine without room for the best values of more trials."""

    def inner(self: Any, group: int) -> Any:
        if len(self._optimizer.param_groups) > groups:
            raise FULL
        return method(self, group)

    return inner


def no_room(*_: Any) -> None:
    raise FULL


def unreadable(pack: Pack) -> None:
    raise ApetError("folder:/there: no such folder")


def short_of_memory(gang: Gang, store: str, pack: str, fault: Any, said: str) -> None:
    """A rank on which memory runs out where nobody can be asked writes down the limits that it ends with."""
    try:
        run_packs(gang, store, [pack], None, fault, None)
    except ShortOfMemory as error:
        Path(said).write_text(json.dumps(error.limits))
        raise


def ids(pack: Pack) -> list[str]:
    return [member.trial.trial_id for member in pack.members]


SAME = ("state", "validation_score", "test_score", "metrics", "transfer", "best_step", "steps_done", "diverged_at")
COUNTED = ("tokens", "count_actual", "error_class", "failure_class", "attempt")


def same(store: Store, other: Store, *members: Member, bitwise: bool = False) -> None:
    """Make sure that trials have the same results in both.

    But for rounding: what bitfit gives the biases of keys. No score depends on them, and Adam makes whole steps of
    rounding's own gradients.
    """
    tolerance = 0.0 if bitwise else TOLERANCE
    for member in members:
        trial_id, method = member.trial.trial_id, member.trial.method.name
        ours, theirs = rows_of(store)[trial_id], rows_of(other)[trial_id]
        assert {x: ours[x] for x in (*SAME, *COUNTED)} == {x: theirs[x] for x in (*SAME, *COUNTED)}, method
        assert losses(store, trial_id) == pytest.approx(losses(other, trial_id), rel=tolerance, abs=tolerance)
        if method != "full" and (bitwise or method != "bitfit"):
            for one, two in zip(theta(store, ours), theta(other, theirs), strict=True):
                torch.testing.assert_close(one, two, rtol=tolerance, atol=tolerance)


def losses(store: Store, trial_id: str) -> list[float]:
    """At every evaluation, and the last one."""
    curve = sorted((p["step"], p["loss"]) for p in store.curves().to_pylist() if p["trial_id"] == trial_id)
    return [loss for _, loss in curve] + [rows_of(store)[trial_id]["train_loss"]]


def theta(store: Store, row: dict[str, Any]) -> list[torch.Tensor]:
    """What a trial has trained, at its best step."""
    return [x for _, x in sorted(load(store.load_module(row["module_uri"])).items())]
