"""Any count, seed, family and mixture: exact in the optimiser, the identity at the start, whole after a round trip."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_for_tests import FAMILIES, WORDS, answers, batch, frozen, pack
from trials_for_tests import make_trial

from trials import backbones
from trials.modules import counts, methods
from trials.modules.positions import layout
from trials.modules.sites import site_kinds
from trials.trial import Trial
from workers.engines import choice
from workers.engines.engine import Engine, Group
from workers.modules.model import PackModel
from workers.modules.modules import initial_theta
from workers.pack.checkpoint import Checkpoint

D = 64
OPERATIONS = tuple(counts.ops.OPERATIONS)
BACKBONES = {name: frozen(name) for name in FAMILIES}  # never changed: that is what some of these tests say


@st.composite
def trials(draw: st.DrawFn, *, soft: bool) -> Trial:
    """An ``apet`` trial with any operations, shares, sites, placement, seeds and count up to its capacity."""
    name = draw(st.sampled_from(FAMILIES))
    ref = backbones.get(name)
    shares = draw(st.dictionaries(st.sampled_from(OPERATIONS), st.integers(1, 5), min_size=1))
    chosen: dict[str, list[str]] = {}
    for op in shares:
        rules = counts.ops.get(op)
        kinds = [k for k in site_kinds(ref.family) if rules.accepts(ref.family, k) and (soft or k != "soft_tokens")]
        if draw(st.booleans()):
            chosen[op] = draw(st.lists(st.sampled_from(kinds), min_size=1, unique=True))
    tokens = draw(st.integers(1, 6)) if "soft_tokens" in chosen.get("concat", ()) else None
    total = sum(counts.capacity(ref, shares, chosen, tokens).values())
    count = draw(st.one_of(st.integers(1, min(total, 500)), st.integers(1, min(total, 20_000))))
    placement = draw(st.sampled_from(["discrete", "adjacent"]))
    method = methods.apet(ref.family, count, shares, chosen, placement, tokens)
    seeds = {"position_seed": draw(st.integers(0, 5)), "train_seed": draw(st.integers(0, 5))}
    return make_trial(name, trial={"method": method, **seeds})


@settings(max_examples=40, deadline=None)
@given(trials(soft=True))
def test_the_optimiser_holds_exactly_the_count(one: Trial) -> None:
    name = one.backbone.name
    with pack(BACKBONES[name], [one]) as (model, modules):
        engine = choice.make("plain", model, [Group([modules.thetas[0]], 1e-2)])
        engine.backward(engine.losses(batch(name)).sum())
        assert engine.count(0) == engine.count(0, reached=False) == one.method.count
        (theta,) = (p for p in model.parameters() if p.requires_grad)
        assert torch.equal(theta, engine.values(0)[0])
        assert all(p.grad is None for p in model.backbone.parameters())
        engine.close()


@settings(max_examples=40, deadline=None)
@given(trials(soft=False))
def test_a_module_starts_as_the_identity_bitwise(one: Trial) -> None:
    name = one.backbone.name
    rows = batch(name)
    bare = PackModel(BACKBONES[name], None, label_words=WORDS if name == "tiny-bert" else None)(rows)
    with pack(BACKBONES[name], [one]) as (model, _):
        assert torch.equal(model(rows), bare)


@settings(max_examples=15, deadline=None)
@given(trials(soft=True), st.integers(0, 3))
def test_a_state_goes_through_a_checkpoint_and_on_bitwise(one: Trial, before: int) -> None:
    name = one.backbone.name
    rows = batch(name)

    def steps(engine: Engine, n: int) -> None:
        for _ in range(n):
            engine.backward(engine.losses(rows).sum())
            engine.step()

    with pack(BACKBONES[name], [one]) as (model, modules):
        engine = choice.make("plain", model, [Group([modules.thetas[0]], 1e-2)])
        steps(engine, before)
        data = Checkpoint(one.trial_id, before, [modules.thetas[0]], engine.state(0)).to_bytes()
        steps(engine, 2)
        end = modules.thetas[0].detach().clone()
        engine.close()
    with pack(BACKBONES[name], [one]) as (model, modules):
        saved = Checkpoint.from_bytes(data)
        assert len(data) < 12 * end.numel() + 2000  # θ and AdamW's two moments, nothing of the backbone
        modules.thetas[0].data.copy_(saved.tensors[0])
        engine = choice.make("plain", model, [Group([modules.thetas[0]], 1e-2)])
        engine.load_state(0, saved.optimizer)
        steps(engine, 2)
        assert torch.equal(modules.thetas[0], end)
        engine.close()


SIZES: tuple[int | str, ...] = (1, 2, D - 1, D, D + 1, "capacity")
CASES = [(what, size) for what in (*OPERATIONS, "soft_tokens") for size in SIZES]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[1]}")
@pytest.mark.parametrize("name", FAMILIES)
def test_every_scalar_of_an_operation_alone_has_moved_after_five_steps(name: str, case: tuple[str, Any]) -> None:
    """T5's targets have four tokens: a decoder that sees one position has dead queries."""
    what, size = case
    op = "concat" if what == "soft_tokens" else what
    chosen = {"sites": {"concat": ("soft_tokens",)}, "tokens": 4} if what == "soft_tokens" else {}
    held = counts.capacity(backbones.get(name), [op], chosen.get("sites"), chosen.get("tokens"))[op]  # type: ignore[arg-type]
    count = held if size == "capacity" else size
    one = make_trial(name, operations={op: 1}, count=count, **chosen)
    with pack(BACKBONES[name], [one]) as (model, modules):
        (theta,) = modules.thetas
        start = theta.detach().clone()
        assert theta.numel() == count
        engine = choice.make("plain", model, [Group([theta], 1e-2)])
        for _ in range(5):
            engine.backward(engine.losses(batch(name)).sum())
            engine.step()
        engine.close()
        assert int((theta == start).sum()) == 0


THREE: list[list[dict[str, Any]]] = [
    [{"operations": {"add": 1}, "count": 37}, {"method": "lora"}, {"count": 700, "placement": "adjacent"}],
    [{"method": "bitfit"}, {"operations": {"concat": 1, "plug": 2}, "count": 901}, {"method": "adapter"}],
]


@pytest.mark.parametrize("cases", THREE, ids=["add-lora-mixed", "bitfit-mixed-adapter"])
@pytest.mark.parametrize("name", FAMILIES)
def test_three_trials_train_in_a_pack_as_alone_bitwise_generation_included(
    name: str, cases: list[dict[str, Any]]
) -> None:
    backbone, rows = BACKBONES[name], batch(name)
    members = [make_trial(name, **case) for case in cases]
    rates = (1e-2, 3e-3, 3e-2)

    def trained(which: list[int]) -> list[tuple[torch.Tensor, torch.Tensor, list[Any]]]:
        """θ and loss after ten steps, and what is answered then, of some members in one pack."""
        with pack(backbone, [members[i] for i in which]) as (model, modules):
            groups = [Group([t], rates[i]) for t, i in zip(modules.thetas, which, strict=True)]
            engine = choice.make("plain", model, groups)
            for _ in range(10):
                losses = engine.losses(rows)
                engine.backward(losses.sum())
                engine.step()
            engine.close()
            thetas = [t.detach().clone() for t in modules.thetas]
            return list(zip(thetas, losses.detach(), answers(model, rows), strict=True))

    for i, (theta, loss, answer) in enumerate(trained([0, 1, 2])):
        ((mine, my_loss, my_answer),) = trained([i])
        assert torch.equal(mine, theta)
        assert torch.equal(my_loss, loss)
        assert my_answer == answer


FIXED_THETA: dict[tuple[str, str], str] = {
    ("tiny-bert", "mixed"): "fafa82cf46ea9be4",
    ("tiny-bloom", "adapter"): "85cb4f523833320e",
    ("tiny-t5", "lora"): "3944727809fd4de0",
}


@pytest.mark.parametrize("case", FIXED_THETA)
def test_fixed_initial_thetas(case: tuple[str, str]) -> None:
    """A stored module is its flat θ: whoever changes the order of its scalars can't read it any more."""
    sizes: dict[str, dict[str, Any]] = {
        "mixed": {"count": 1234, "operations": {"add": 1, "concat": 2, "plug": 3}},
        "adapter": {"method": "adapter"},
        "lora": {"method": "lora"},
    }
    name, which = case
    theta = initial_theta(layout(make_trial(name, **sizes[which])))
    assert hashlib.sha256(np.asarray(theta, "<f4").tobytes()).hexdigest()[:16] == FIXED_THETA[case]
