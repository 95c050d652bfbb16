"""One padded product for all slices has the numbers of a product a slice, whatever the slices have."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_for_tests import CASES, FAMILIES, answers, batch, frozen, pack, randomised
from torch import Tensor

from workers.engines import choice
from workers.engines.engine import Group
from workers.modules import padded

SOFT = {"operations": {"concat": 1}, "sites": {"concat": ("soft_tokens", "q")}, "tokens": 3, "count": 900}
PACKS: dict[str, list[dict[str, Any]]] = {
    "uneven": CASES,  # slices of add alone, concat alone, plug alone and mixtures, each of another rank
    "alike": [{"method": "lora"}] * 3,
    "scales": [{"method": "lora", "rank": 1, "alpha": 3.0}, {"method": "lora"}, {"method": "adapter"}, SOFT],
    "cut": [{"operations": {"concat": 1}, "count": 37}, {"operations": {"plug": 1}, "count": 50}],
}


def passed(name: str, cases: list[dict[str, Any]], trial: Any) -> list[Tensor]:
    """Losses and gradients, and θ after five steps, then losses without the first slice."""
    with pack(frozen(name), [trial(name, **case) for case in cases]) as (model, modules):
        randomised(modules)
        engine = choice.make("plain", model, [Group([theta], 1e-3) for theta in modules.thetas])
        first = engine.losses(batch(name))
        engine.backward(first.sum())
        gradients = [theta.grad.clone() for theta in modules.thetas if theta.grad is not None]
        assert len(gradients) == len(cases)
        engine.reset()
        for _ in range(3):
            engine.backward(engine.losses(batch(name)).sum())
            engine.clip(range(len(cases)), 1.0)
            engine.step()
        modules.active = modules.active[1:]
        found = [first.detach(), *gradients, engine.losses(batch(name)).detach()]
        engine.close()
    return found


@pytest.mark.parametrize("case", PACKS)
@pytest.mark.parametrize("name", FAMILIES)
def test_padded_equals_a_product_a_slice(name: str, case: str, trial: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    one_by_one = passed(name, PACKS[case], trial)
    monkeypatch.setattr(padded, "pays", lambda k, device: bool(asked.append(k)) or True)
    together = passed(name, PACKS[case], trial)
    assert set(asked) == {len(PACKS[case]), len(PACKS[case]) - 1}
    for a, b in zip(one_by_one, together, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_padded_generates_the_same_answers(name: str, trial: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for pays in (False, True):
        monkeypatch.setattr(padded, "pays", lambda k, device, pays=pays: pays)
        with pack(frozen(name), [trial(name, **case) for case in CASES]) as (model, modules):
            randomised(modules)
            found.append(answers(model, batch(name)))
    assert found[0] == found[1]


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf"), 1e38])
@pytest.mark.parametrize("bad", [1, 2])  # concat alone, plug alone
@pytest.mark.parametrize("name", FAMILIES)
def test_poison_in_a_slice_stays_there(
    name: str, bad: int, poison: float, trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one batch of products too: the other slices' losses and gradients have the same bits."""
    monkeypatch.setattr(padded, "pays", lambda k, device: True)
    cases = CASES[:6]
    with pack(frozen(name), [trial(name, **case) for case in cases]) as (model, modules):
        randomised(modules)
        found = []
        for value in (None, poison):
            if value is not None:
                modules.thetas[bad].data[0] = value
            losses = model(batch(name))
            found.append((losses.detach(), torch.autograd.grad(losses.sum(), list(modules.thetas))))
    (clean, gradients), (poisoned, after) = found
    for i in set(range(len(cases))) - {bad}:
        assert torch.equal(clean[i], poisoned[i])
        assert torch.equal(gradients[i], after[i])
    assert not torch.equal(gradients[bad], after[bad])


def test_a_cpu_keeps_a_product_a_slice() -> None:
    assert not padded.pays(64, torch.device("cpu"))
    assert padded.pays(64, torch.device("cuda"))
    assert not padded.pays(1, torch.device("cuda"))
