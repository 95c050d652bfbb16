"""Plain PyTorch and DeepSpeed (stage 0, one CPU process) take the same steps."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from trials import backbones
from trials.errors import ApetError
from trials.modules.positions import layout
from workers.backbone import weights
from workers.engines import choice
from workers.engines.engine import Engine, Group
from workers.modules.model import PackModel
from workers.modules.modules import Modules

FAMILIES = ("tiny-bert", "tiny-bloom", "tiny-t5")


def batch(family: str) -> dict[str, torch.Tensor]:
    """Four rows with targets of three tokens."""
    ids = torch.arange(4 * 9).view(4, 9) * 37 % 1900 + 20
    mask = torch.ones_like(ids)
    if family == "bert":
        return {"input_ids": ids, "attention_mask": mask, "class_labels": torch.tensor([0, 1, 1, 0])}
    labels = ids.clone()
    labels[:, :6] = -100
    return {"input_ids": ids, "attention_mask": mask, "labels": labels if family == "bloom" else ids[:, 6:]}


def pack_model(name: str, trials: list[Any]) -> tuple[PackModel, Modules]:
    ref = backbones.get(name)
    model = weights._empty(ref)
    weights._fill(model, ref)
    model.eval().requires_grad_(False)
    backbone: Any = SimpleNamespace(ref=ref, model=model, tokenizer=None, device=torch.device("cpu"))
    modules = Modules(backbone, [layout(t) for t in trials])
    heads = None
    if ref.family == "bert":
        model.forward = lambda **inputs: model.bert(**inputs)  # a head on the hidden states, without the vocabulary
        heads = [torch.linspace(-1, 1, 2 * 64).view(2, 64)] * len(trials)
    return PackModel(backbone, modules, heads), modules


def run(engine_name: str, name: str, trials: list[Any], steps: int, drop_at: int | None = None) -> list[torch.Tensor]:
    """θ of a pack after some steps; the first trial leaves at ``drop_at``."""
    model, modules = pack_model(name, trials)
    rates = (1e-2, 3e-3)
    groups = [Group([theta], rate) for theta, rate in zip(modules.thetas, rates, strict=True)]
    engine = choice.make(engine_name, model, groups)
    assert [sum(p.numel() for p in g) for g in engine.groups()] == [t.method.count for t in trials]
    for step in range(steps):
        if step == drop_at:
            engine.drop(0)
            modules.active = [1]
        losses = engine.losses(batch(model.family))
        engine.backward(losses.sum())
        engine.step()
    engine.close()
    modules.close()
    return [theta.detach().clone() for theta in modules.thetas]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("drop_at", [None, 2])
def test_the_engines_take_the_same_steps_bitwise(name: str, drop_at: int | None, trial: Any) -> None:
    trials = [trial(name, count=500), trial(name, count=60, operations={"concat": 1})]
    plain = run("plain", name, trials, 5, drop_at)
    deepspeed = run("deepspeed", name, trials, 5, drop_at)
    for a, b in zip(plain, deepspeed, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_trial_alone_takes_the_steps_it_takes_in_a_pack(name: str, trial: Any) -> None:
    trials = [trial(name, count=500), trial(name, count=60, operations={"concat": 1})]
    packed = run("plain", name, trials, 4)
    model, modules = pack_model(name, trials[1:])
    engine = choice.make("plain", model, [Group([modules.thetas[0]], 3e-3)])
    for _ in range(4):
        engine.backward(engine.losses(batch(model.family)).sum())
        engine.step()
    assert torch.equal(packed[1], modules.thetas[0])


@pytest.mark.parametrize("engine_name", choice.ENGINES)
def test_a_saved_state_goes_on_bitwise(engine_name: str, trial: Any) -> None:
    one = [trial("tiny-bloom", count=300)]
    model, modules = pack_model("tiny-bloom", one)
    theta = modules.thetas[0]
    start = theta.detach().clone()

    def steps(engine: Engine, n: int) -> None:
        for _ in range(n):
            engine.backward(engine.losses(batch("bloom")).sum())
            engine.step()

    engine = choice.make(engine_name, model, [Group([theta], 1e-2)])
    steps(engine, 2)
    middle, state = theta.detach().clone(), engine.state(0)
    steps(engine, 3)
    end = theta.detach().clone()
    engine.close()
    assert not torch.equal(middle, end)
    assert not torch.equal(start, middle)
    theta.data.copy_(middle)
    again = choice.make(engine_name, model, [Group([theta], 1e-2)])
    again.load_state(0, state)
    steps(again, 3)
    again.close()
    assert torch.equal(theta, end)


def test_an_unknown_engine_names_the_choices() -> None:
    with pytest.raises(ApetError, match="did you mean deepspeed"):
        choice.make("deepsped", torch.nn.Linear(1, 1), [])
