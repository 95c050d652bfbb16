"""Below the lowest touched block a pass sees b rows, from there up K·b: bitwise what each trial gives alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from depths_for_tests import NORMS, OPERATIONS, B, at, seen, tall
from tiny_for_tests import FAMILIES, answers, batch, pack, randomised
from torch import Tensor
from trials_for_tests import make_trial

from trials.trial import Trial
from workers.backbone.load import stacks
from workers.engines import choice
from workers.engines.engine import Group
from workers.modules.model import PackModel
from workers.modules.modules import Modules
from workers.modules.sharing import BOTTOM, forked

HEADS = 4


def trained(
    name: str, trials: Sequence[Trial], leaves: int | None = None
) -> list[tuple[list[Tensor], Tensor, list[Any]]]:
    """Losses of four steps, θ after them, and answers of every trial; one may leave the pack after two steps."""
    with pack(tall(name), trials) as (model, modules):
        randomised(modules)
        engine = choice.make(
            "plain", model, [Group([theta], t.learning_rate) for theta, t in zip(modules.thetas, trials, strict=True)]
        )
        losses: list[list[Tensor]] = [[] for _ in trials]
        for step in range(4):
            if step == 2 and leaves is not None:
                engine.drop(leaves)
                modules.active = [i for i in modules.active if i != leaves]
            losses_K = engine.losses(batch(name))
            engine.backward(losses_K.sum())
            engine.step()
            for i, loss in zip(modules.active, losses_K.detach(), strict=True):
                losses[i].append(loss)
        engine.close()
        given = dict(zip(modules.active, answers(model, batch(name)), strict=True))
        return [(losses[i], modules.thetas[i].detach().clone(), given.get(i, [])) for i in range(len(trials))]


def unshared(name: str, trials: Sequence[Trial], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The same with every block on K·b rows, as if all trials touched the embeddings."""
    with monkeypatch.context() as patch:
        patch.setattr(Modules, "lowest", BOTTOM)
        return trained(name, trials)


def same(a: Any, b: Any) -> None:
    (losses, theta, given), (their_losses, their_theta, they_give) = a, b
    assert [x.item() for x in losses] == [x.item() for x in their_losses]
    assert torch.equal(theta, their_theta)
    assert given == they_give


PACKS: dict[str, dict[str, Sequence[int]]] = {
    "tiny-bert": {"top": (2, 2, 2, 2), "different": (1, 2, 1, 2), "bottom": (0, 2, 1, 0)},
    "tiny-bloom": {"top": (2, 2, 2, 2), "different": (1, 2, 1, 2), "bottom": (0, 2, 1, 0)},
    "tiny-t5": {"decoder": (4, 4, 3, 4), "encoder": (1, 2, 1, 2), "both": (4, 2, 3, 2), "top": (4, 4, 4, 4)},
}


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_packs_at_any_depth_train_as_alone_and_as_without_sharing(
    name: str, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many slices as heads, so that no argument can be told by its shape; generation and labels included."""
    for places in PACKS[name].values():
        trials = [at(name, place, OPERATIONS[operation]) for place in places]
        assert len(trials) == HEADS
        together = trained(name, trials)
        for one, theirs, whole in zip(trials, together, unshared(name, trials, monkeypatch), strict=True):
            same(theirs, whole)
            same(theirs, *trained(name, [one]))


@pytest.mark.parametrize("name", FAMILIES)
def test_mixtures_of_operations_and_methods_at_any_depth(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    top = max(PACKS[name]["top"])
    ref = {"backbone": tall(name).ref}
    packs = [
        [at(name, top, case) for case in OPERATIONS.values()],
        [at(name, top - i % 2, case) for i, case in enumerate(OPERATIONS.values())],
        [at(name, top, OPERATIONS["plug"]), make_trial(name, "lora", trial=ref)],
        [at(name, top, OPERATIONS["add"]), make_trial(name, "bitfit", trial=ref)],
    ]
    for trials in packs:
        for one, theirs, whole in zip(trials, trained(name, trials), unshared(name, trials, monkeypatch), strict=True):
            same(theirs, whole)
            same(theirs, *trained(name, [one]))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_boundary_rises_when_the_lowest_trial_leaves(name: str, operation: str) -> None:
    """What it leaves behind on lower layers corrects nothing any more, and is no reason for a graph there."""
    top = max(PACKS[name]["top"])
    trials = [at(name, top - 1, OPERATIONS[operation]), *(at(name, top, x) for x in OPERATIONS.values())]
    together = trained(name, trials, leaves=0)
    for one, theirs in zip(trials[1:], together[1:], strict=True):
        same(theirs, *trained(name, [one]))
    with pack(tall(name), trials) as (model, modules):
        with seen(tall(name), top - 1) as rows:
            model(batch(name))
        assert rows == [B] * (top - 1) + [5 * B] * 2
        modules.active = [1, 2, 3, 4]
        with seen(tall(name), top) as rows:
            model(batch(name))
        assert rows == [B] * top + [4 * B]


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("name", FAMILIES)
def test_blocks_below_see_the_batch_once_and_those_above_once_a_slice(name: str, k: int) -> None:
    backbone, n = tall(name), sum(len(stack.blocks) for stack in stacks(tall(name)).values())
    for block in range(n):
        trials = [at(name, block, OPERATIONS["add"]) for _ in range(k)]
        with pack(backbone, trials) as (model, _), seen(backbone, block) as rows:
            model(batch(name)).sum().backward()
            assert rows == [B] * block + [k * B] * (n - block)
            rows.clear()
            answers(model, batch(name))
            assert rows[:n] == [B] * block + [k * B] * (n - block)
            assert set(rows[n:]) <= {k * B}  # texts differ from their first token on


@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("name", ["tiny-bloom", "tiny-t5"])
def test_a_norm_after_all_blocks_is_touched_alone(name: str, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """T5's encoder has one too: then the whole decoder is each slice's own."""
    backbone, stack = tall(name), stacks(tall(name))
    ends = [sum(len(s.blocks) for s in list(stack.values())[: i + 1]) for i in range(len(stack))]
    for end in ends:
        seeds = [s for s in range(150) if top_of(name, s) == end]
        trials = [at(name, end, NORMS, seeds) for _ in range(k)]
        with pack(backbone, trials) as (model, _), seen(backbone, end) as rows:
            model(batch(name)).sum().backward()
            assert rows == [B] * end + [k * B] * (ends[-1] - end)
        for theirs, whole in zip(trained(name, trials), unshared(name, trials, monkeypatch), strict=True):
            same(theirs, whole)


def top_of(name: str, seed: int) -> int | None:
    """The end of the stack whose final norm is all that a trial of norms touches."""
    one = make_trial(name, placement="adjacent", trial={"backbone": tall(name).ref, "position_seed": seed}, **NORMS)
    with pack(tall(name), [one]) as (_, modules):
        at_, block = modules.lowest
        found = list(stacks(tall(name)).values())
        return sum(len(s.blocks) for s in found[: at_ + 1]) if block == len(found[at_].blocks) else None


@pytest.mark.parametrize("method", ["full", "prompt", "bitfit"])
@pytest.mark.parametrize("name", FAMILIES)
def test_what_touches_the_embeddings_shares_the_token_data_alone(name: str, method: str) -> None:
    if method == "full":
        model = PackModel(tall(name), None, label_words=[1, 2])
        assert model.lowest == BOTTOM
        return
    ref = {"backbone": tall(name).ref}
    one = make_trial(name, method, trial=ref, **({"tokens": 3} if method == "prompt" else {}))
    other = at(name, max(PACKS[name]["top"]), OPERATIONS["add"])
    with pack(tall(name), [one, other]) as (model, modules), seen(tall(name)) as rows:
        model(batch(name))
        assert set(rows) == {2 * B}
        assert (modules.lowest == BOTTOM) is (method == "prompt" or name != "tiny-t5")  # T5 has no norm down there


@pytest.mark.parametrize("name", FAMILIES)
def test_a_pass_leaves_nothing_on_the_backbone(name: str) -> None:
    backbone = tall(name)
    before = [(len(m._forward_pre_hooks), len(m._forward_hooks)) for m in backbone.model.modules()]
    names = [key for key, _ in backbone.model.named_modules()]
    with pack(backbone, [at(name, 1, OPERATIONS["mixed"])] * 2) as (model, _):
        model(batch(name))
        top = list(stacks(backbone).values())[-1].blocks[-1]
        failing = top.register_forward_hook(lambda *_: (_ for _ in ()).throw(MemoryError))
        with pytest.raises(MemoryError):
            model(batch(name))
        failing.remove()
    assert [(len(m._forward_pre_hooks), len(m._forward_hooks)) for m in backbone.model.modules()] == before
    assert [key for key, _ in backbone.model.named_modules()] == names


def test_an_argument_of_rows_that_nobody_has_named_is_refused() -> None:
    """A later release of transformers may hand over another one."""
    stack = stacks(tall("tiny-bert"))["encoder"]
    with forked([stack], (0, 1), 2, {}), pytest.raises(AssertionError, match="is 'news' of rows"):
        stack.blocks[1](torch.zeros(2, 3, 64), None, news=torch.zeros(2))
