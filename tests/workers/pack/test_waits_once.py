"""A step waits for its device once, at its end, however many trials there are; one that diverges disturbs no other."""

from __future__ import annotations

import math
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from encodings_for_tests import dataset
from engines_for_tests import equal
from tiny_for_tests import FAMILIES, frozen, pack, randomised
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from trials.pack import Member
from trials.trial import Training
from workers.engines import choice
from workers.engines.engine import Group
from workers.pack.loop import Job, _step
from workers.pack.portions import Limits
from workers.pack.state import TrialState
from workers.rows.batches import Batch, stream

both = pytest.mark.parametrize("engine_name", choice.ENGINES)
families = pytest.mark.parametrize("name", FAMILIES)


@contextmanager
def job(engine_name: str, name: str, trials: list[Any], rows: int = 8) -> Iterator[tuple[Job, Iterator[Batch]]]:
    """A pack away from its start, and its batches."""
    nothing: Any = None
    with pack(frozen(name), trials) as (model, modules):
        randomised(modules)
        states = [TrialState(Member(t), i) for i, t in enumerate(trials)]
        groups = [Group([p], t.learning_rate) for t, p in zip(trials, modules.thetas, strict=True)]
        engine = choice.make(engine_name, model, groups)
        data = dataset(name, 48)  # six whole batches
        made = Job(model, engine, states, Training(9, 8), 0, data, nothing, nothing, Limits.of(rows))
        yield made, stream(data, 0, 8)
        engine.close()


class Waits(TorchDispatchMode):
    """Where inside a device would be waited for: a number is read, or how many there are decides a shape."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def note(self) -> None:
        """By the file that asked, torch's own left out."""
        files = [frame.filename for frame in traceback.extract_stack()]
        self.found.append([f for f in files if "/torch/" not in f and not f.endswith("test_waits_once.py")][-1])

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        by_mask = func is torch.ops.aten.index.Tensor and any(x is not None and x.dtype == torch.bool for x in args[1])
        reads = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2")
        if by_mask or func.overloadpacket.__name__ in reads:
            self.note()
        return func(*args, **(kwargs or {}))


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    """On a CPU some ways to read a tensor reach no operation."""
    found = Waits()

    def noted(real: Any) -> Any:
        return lambda *args, **kwargs: (found.note(), real(*args, **kwargs))[1]

    for name in ("tolist", "cpu", "numpy"):
        monkeypatch.setattr(Tensor, name, noted(getattr(Tensor, name)))
    return found


@both
@families
@pytest.mark.parametrize("k", [1, 5])
def test_a_step_waits_once_at_its_end(engine_name: str, name: str, k: int, waits: Waits, trial: Any) -> None:
    """But for the masks: transformers looks whether there is padding, before a pass, when nothing runs."""
    with job(engine_name, name, [trial(name, count=300 + i) for i in range(k)]) as (made, batches):
        _step(made, 1, next(batches))  # counts what trains
        batch, order = next(batches), []
        waits.found.clear()
        with waits:
            _step(made, 2, batch, meanwhile=lambda: order.append(len(waits.found)))
        masks = [file for file in waits.found if file.endswith("transformers/masking_utils.py")]
        assert len(masks) <= 2
        assert [file for file in waits.found if file not in masks] == [_step.__code__.co_filename]
        assert order == [len(masks)], "the next batch is made before the end is waited for"
        assert all(state.steps_done == 2 for state in made.states)


def test_a_wait_is_noticed(waits: Waits) -> None:
    x = torch.ones(3)
    with waits:
        for look in (x.sum().item, lambda: float(x[0]), lambda: bool(x.any()), lambda: x[x > 0], x.tolist, x.cpu):
            waits.found.clear()
            look()
            assert waits.found, look


@both
@families
@pytest.mark.parametrize("rows", [8, 3])
def test_a_poisoned_trial_ends_and_the_others_go_on_bitwise(engine_name: str, name: str, rows: int, trial: Any) -> None:
    """Whole batches and parts of them, on both engines."""
    trials = [trial(name, count=300), trial(name, count=310, operations={"add": 1, "concat": 1}), trial(name, "lora")]

    def others(poison: float | None) -> list[Tensor]:
        """Losses, θ and moments of the two that aren't poisoned at step 2, after step 3."""
        with job(engine_name, name, trials, rows) as (made, batches):
            for step in (1, 2, 3):
                if poison is not None and step == 2:
                    (theta,) = made.engine.values(1)
                    theta[0] = theta[-1] = poison
                    made.engine.set_values(1, [theta])
                _step(made, step, next(batches))
            bad, good = made.states[1], (0, 2)
            if poison is not None and not math.isfinite(poison):
                assert (bad.outcome, bad.diverged_at, bad.steps_done) == ("diverged", 2, 1)
            assert all(made.states[slot].outcome is None for slot in good)
            moments = [x for slot in good for state in made.engine.state(slot) for x in state.values()]
            losses = torch.tensor([made.states[slot].train_loss for slot in good])
            return [losses, *moments, *(x for slot in good for x in made.engine.values(slot))]

    clean = others(None)
    for poison in (math.nan, math.inf, -math.inf, 1e38):
        assert equal(others(poison), clean), poison


@both
@families
def test_portions_of_slices_are_clipped_and_stepped_as_all_at_once_bitwise(
    engine_name: str, name: str, trial: Any
) -> None:
    found = []
    for portions in ([[0, 1, 2]], [[0], [1, 2]], [[0, 1], [2]]):
        with job(engine_name, name, [trial(name, count=300 + i) for i in range(3)]) as (made, batches):
            assert made.model.modules_K is not None
            for _ in range(2):
                batch, losses = next(batches), []
                for portion in portions:
                    made.model.modules_K.active = portion
                    losses.append(made.engine.losses(batch.tensors))
                    made.engine.backward(losses[-1].sum() * 100, last=portion is portions[-1])
                norms = made.engine.clip([0, 1, 2], 1.0)
                made.engine.step()
            values = [x for slot in range(3) for x in made.engine.values(slot)]
            found.append([torch.cat(losses).detach(), norms, *values])
    assert equal(found[0], found[1])
    assert equal(found[0], found[2])
