"""The contract of an engine, method by method on both of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from engines_for_tests import RATES, equal, take, two
from tiny_for_tests import FAMILIES, batch
from torch import Tensor

from workers.engines import adamw, choice
from workers.engines.engine import Engine, Group
from workers.gang.gang import Gang

both = pytest.mark.parametrize("engine_name", choice.ENGINES)
families = pytest.mark.parametrize("name", FAMILIES)


@both
@families
def test_losses(engine_name: str, name: str, trial: Any) -> None:
    with two(engine_name, name, trial) as (engine, model):
        assert torch.equal(engine.losses(batch(name)), model(batch(name)))
        assert engine.losses(batch(name)).shape == (2,)


@both
@families
def test_backward(engine_name: str, name: str, trial: Any) -> None:
    """Passes of one step add up, and the frozen backbone gets nothing."""
    with two(engine_name, name, trial) as (engine, model):
        engine.backward(engine.losses(batch(name)).sum())
        once = engine.clip([0, 1], math.inf).tolist()
        engine.reset()
        for last in (False, True):
            engine.backward(engine.losses(batch(name)).sum(), last=last)
        assert engine.clip([0, 1], math.inf).tolist() == pytest.approx([2 * x for x in once])
        assert min(once) > 0
        assert all(p.grad is None for p in model.backbone.parameters())


class Twins(Gang):
    """Two ranks that have the same; how many tensors were summed in each call."""

    ranks = 2

    def __init__(self) -> None:
        self.calls: list[int] = []

    def sum(self, tensors: Sequence[Tensor]) -> None:
        self.calls.append(len(tensors))
        for x in tensors:
            x.mul_(2)


@both
@families
def test_reduce(engine_name: str, name: str, trial: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses and gradients of all groups are summed over the ranks, as many a call as memory is to be taken for."""
    for gang, factor, at_once, calls in (
        (Gang(), 1, 2**22, None),
        (Twins(), 2, 2**22, [3]),
        (Twins(), 2, 70, [1, 1, 1]),
    ):
        monkeypatch.setattr(adamw, "AT_ONCE", at_once)
        with two(engine_name, name, trial, gang) as (engine, _):
            losses = engine.losses(batch(name))
            engine.backward(losses.sum())
            norms = engine.clip([0, 1], math.inf)
            assert torch.equal(engine.reduce(losses.detach().clone()), factor * losses)
            assert torch.equal(engine.clip([0, 1], math.inf), factor * norms)
            assert engine.ranks == gang.ranks
            assert getattr(gang, "calls", None) == calls


@both
@families
def test_clip(engine_name: str, name: str, trial: Any) -> None:
    """The norms before come back; each group is scaled by its own, and only down."""
    with two(engine_name, name, trial) as (engine, _):
        engine.backward((engine.losses(batch(name)) * 1000).sum())
        before = engine.clip([0, 1], 1e9)
        assert before.shape == (2,)
        assert engine.clip([0], float(before[0]) / 4)[0] == before[0]
        after = engine.clip([0, 1], 1e9).tolist()
        assert after[0] == pytest.approx(float(before[0]) / 4, rel=1e-4)
        assert after[1] == before[1]


@both
@families
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 3e38], ids=str)
@pytest.mark.parametrize("which", [0, 1])
def test_a_group_that_diverged_disturbs_no_other_bit(
    engine_name: str, name: str, bad: float, which: int, trial: Any
) -> None:
    """Its norm isn't finite, and its gradients are zeros by the time of the step: nobody has to look in between."""
    other, moved = 1 - which, []
    for factor in (1.0, bad):
        with two(engine_name, name, trial) as (engine, _):
            for _ in range(2):
                losses = engine.losses(batch(name))
                engine.backward(losses[which] * factor + losses[other])
                norms = engine.clip([0, 1], 1.0)
                if factor != 1.0:
                    assert not norms[which].isfinite()
                assert norms[other].isfinite()
                engine.step()
            assert all(values.isfinite().all() for values in engine.values(which))
            engine.drop(which)
            moved.append([*engine.values(other), norms[other]])
    assert equal(*moved)


@both
@families
@pytest.mark.parametrize("bad_part", [0, 1])
def test_a_part_that_diverged_is_remembered(engine_name: str, name: str, bad_part: int, trial: Any) -> None:
    with two(engine_name, name, trial) as (engine, _):
        for part in (0, 1):
            losses = engine.losses(batch(name))
            engine.backward(losses[0] * (math.nan if part == bad_part else 1.0) + losses[1], last=part == 1)
        assert engine.clip([1, 0], 1.0).isfinite().tolist() == [True, False]


@both
@families
def test_step(engine_name: str, name: str, trial: Any) -> None:
    """Adam's first step is as long as each group's own rate; gradients are forgotten."""
    with two(engine_name, name, trial) as (engine, _):
        before = [engine.values(group)[0] for group in (0, 1)]
        take(engine, name, 1)
        for group, rate in enumerate(RATES):
            moved = (engine.values(group)[0] - before[group]).abs().max()
            assert float(moved) == pytest.approx(rate, rel=1e-2)
        assert engine.count(0) == 0


@both
@families
def test_reset(engine_name: str, name: str, trial: Any) -> None:
    """A pass that was given up leaves nothing, not even that it diverged."""
    found = []
    for given_up in (False, True):
        with two(engine_name, name, trial) as (engine, _):
            if given_up:
                engine.backward(engine.losses(batch(name)).sum() * math.nan, last=False)
                engine.reset()
                assert engine.count(0) == 0
            engine.backward(engine.losses(batch(name)).sum())
            assert engine.clip([0, 1], 1.0).isfinite().all()
            engine.step()
            found.append([*engine.values(0), *engine.values(1)])
    assert equal(*found)


@both
@families
def test_count(engine_name: str, name: str, trial: Any) -> None:
    with two(engine_name, name, trial) as (engine, model):
        assert [engine.count(group, reached=False) for group in (0, 1)] == [500, 60]
        assert [engine.count(group) for group in (0, 1)] == [0, 0]
        model.modules_K.active = [1]  # type: ignore[union-attr]
        engine.backward(engine.losses(batch(name)).sum())
        assert [engine.count(group) for group in (0, 1)] == [0, 60]


@both
@families
def test_values(engine_name: str, name: str, trial: Any) -> None:
    """Copies: what is trained on doesn't change them, nor they it."""
    with two(engine_name, name, trial) as (engine, model):
        (first,) = engine.values(0)
        kept = first.clone()
        assert first.shape == (500,)
        assert torch.equal(first, model.thetas[0])
        take(engine, name, 1)
        assert torch.equal(first, kept)
        assert not torch.equal(first, engine.values(0)[0])
        first.fill_(7.0)
        assert not (engine.values(0)[0] == 7.0).any()


@both
@families
def test_set_values(engine_name: str, name: str, trial: Any) -> None:
    """What was taken goes back, dropped or not, and is what the next pass reads."""
    with two(engine_name, name, trial) as (engine, _):
        before = [engine.values(0), engine.values(1)]
        losses = engine.losses(batch(name)).detach()
        take(engine, name, 2)
        engine.drop(1)
        assert not torch.equal(engine.losses(batch(name)), losses)
        for group in (0, 1):
            engine.set_values(group, before[group])
            assert equal(engine.values(group), before[group])
        assert torch.equal(engine.losses(batch(name)), losses)
        with pytest.raises(AssertionError, match="shape"):
            engine.set_values(0, before[1])


@both
@families
def test_drop(engine_name: str, name: str, trial: Any) -> None:
    """A trial that has left, with gradients at hand, moves no more and has no moments; the other goes on."""
    with two(engine_name, name, trial) as (engine, model):
        take(engine, name, 1)
        engine.backward(engine.losses(batch(name)).sum())
        left, stays = engine.values(0), engine.values(1)
        engine.drop(0)
        assert engine.count(0) == 0
        assert engine.state(0) == [{}]
        engine.step()
        model.modules_K.active = [1]  # type: ignore[union-attr]
        take(engine, name, 1)
        assert equal(engine.values(0), left)
        assert not equal(engine.values(1), stays)


@both
@families
def test_state(engine_name: str, name: str, trial: Any) -> None:
    with two(engine_name, name, trial) as (engine, _):
        assert engine.state(0) == [{}]
        take(engine, name, 3)
        (state,) = engine.state(0)
        assert {key: tuple(x.shape) for key, x in state.items()} == {
            "step": (),
            "exp_avg": (500,),
            "exp_avg_sq": (500,),
        }
        assert state["step"] == 3
        kept = state["exp_avg"].clone()
        take(engine, name, 1)
        assert torch.equal(state["exp_avg"], kept), "a copy"


@both
@families
def test_load_state(engine_name: str, name: str, trial: Any) -> None:
    """Values and state in another engine go on to the same bits; what was given stays as it was."""
    with two(engine_name, name, trial) as (engine, _):
        take(engine, name, 2)
        saved = [(engine.values(group), engine.state(group)) for group in (0, 1)]
        take(engine, name, 3)
        end = [*engine.values(0), *engine.values(1)]
    with two(engine_name, name, trial) as (again, _):
        for group, (values, state) in enumerate(saved):
            again.set_values(group, values)
            again.load_state(group, state)
        take(again, name, 3)
        assert equal([*again.values(0), *again.values(1)], end)
    assert all(state[0]["step"] == 2 for _, state in saved)


@both
@families
def test_close(engine_name: str, name: str, trial: Any) -> None:
    """No gradient and no hook stays; another engine starts on the same model as on a new one."""
    found = []
    for used in (False, True):
        with two("plain", name, trial) as (first, model):
            start = [first.values(group) for group in (0, 1)]
            params = [[p] for p in model.thetas]
            if used:
                other = choice.make(engine_name, model, [Group(*x) for x in zip(params, RATES, strict=True)])
                other.backward(other.losses(batch(name)).sum())
                other.close()
                assert all(p.grad is None for p in model.parameters())
                assert not any(p._backward_hooks for p in model.thetas)
            assert equal([first.values(group)[0] for group in (0, 1)], [x[0] for x in start])
            engine = choice.make(engine_name, model, [Group(*x) for x in zip(params, RATES, strict=True)])
            take(engine, name, 3)
            found.append([*engine.values(0), *engine.values(1)])
            engine.close()
    assert equal(*found)


def test_every_method_of_the_contract_is_tested_on_both_engines() -> None:
    methods = [name for name, value in vars(Engine).items() if callable(value) and not name.startswith("_")]
    assert {"values", "clip", "close"} <= set(methods)
    for method in methods:
        test = globals().get(f"test_{method}")
        assert test is not None, f"no test of {method}"
        marks = {mark.args[0]: mark.args[1] for mark in test.pytestmark}
        assert (tuple(marks["engine_name"]), tuple(marks["name"])) == (choice.ENGINES, FAMILIES), method
