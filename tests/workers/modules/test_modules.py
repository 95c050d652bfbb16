"""One mechanism, three operations: identity at the start, exact θ, packs equal to trials alone."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
from tiny_for_tests import ALONE, CASES, FAMILIES, PLACED, frozen, logits, randomised
from torch import Tensor

from trials.modules.positions import layout
from workers.modules.modules import Modules, initial_theta
from workers.modules.units import Plane


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("case", CASES, ids=lambda c: "-".join(map(str, c.values())))
def test_a_module_starts_as_the_identity_bitwise_and_learns(name: str, case: dict[str, Any], trial: Any) -> None:
    backbone = frozen(name)
    before = logits(backbone)
    modules = Modules(backbone, [layout(trial(name, **case))])
    modules.bind()
    assert torch.equal(logits(backbone), before)
    randomised(modules)
    modules.bind()
    assert not torch.equal(logits(backbone), before)
    modules.close()
    assert torch.equal(logits(backbone), before)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("case", PLACED, ids=lambda c: "-".join(map(str, c.values())))
def test_theta_has_exactly_the_count_and_every_scalar_gets_a_gradient(name: str, case: Any, trial: Any) -> None:
    backbone = frozen(name)
    chosen = trial(name, **case)
    modules = Modules(backbone, [layout(chosen)])
    theta = modules.thetas[0]
    assert theta.numel() == chosen.method.count
    randomised(modules)
    modules.bind()
    (logits(backbone) ** 2).sum().backward()
    assert theta.grad is not None
    assert int((theta.grad != 0).sum()) == chosen.method.count


@pytest.mark.parametrize("name", FAMILIES)
def test_a_pack_gives_each_trial_what_it_gives_alone_bitwise(name: str, trial: Any) -> None:
    layouts = [layout(trial(name, **case)) for case in CASES]
    backbone = frozen(name)
    packed = Modules(backbone, layouts)
    randomised(packed)
    packed.bind()
    together = logits(backbone, len(layouts)).chunk(len(layouts))
    sum((x**2).sum() for x in together).backward()
    packed.close()
    for one, theirs, out in zip(layouts, packed.thetas, together, strict=True):
        alone = Modules(backbone, [one])
        randomised(alone)
        alone.bind()
        mine = logits(backbone)
        (mine**2).sum().backward()
        alone.close()
        assert torch.equal(mine, out)
        assert torch.equal(alone.thetas[0].grad, theirs.grad)


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 1e38])
@pytest.mark.parametrize("bad", range(len(ALONE) + 1))
@pytest.mark.parametrize("name", FAMILIES)
def test_a_poisoned_trial_leaves_the_others_bitwise_undisturbed(name: str, bad: int, poison: float, trial: Any) -> None:
    """Outputs and gradients, whichever operation the poison enters by."""
    backbone = frozen(name)
    k = len(CASES)
    modules = Modules(backbone, [layout(trial(name, **case)) for case in CASES])
    randomised(modules)

    def passed() -> tuple[Any, list[Tensor]]:
        modules.bind()
        out_K = logits(backbone, k).chunk(k)
        for theta in modules.thetas:
            theta.grad = None
        sum((x**2).sum() for x in out_K).backward()
        return out_K, [theta.grad.clone() for theta in modules.thetas]

    clean, gradients = passed()
    modules.thetas[bad].data[0] = poison
    poisoned, after = passed()
    assert not torch.equal(clean[bad], poisoned[bad])
    for i in set(range(k)) - {bad}:
        assert torch.equal(clean[i], poisoned[i])
        assert torch.equal(gradients[i], after[i])


@pytest.mark.parametrize("name", FAMILIES)
def test_a_slice_may_leave_the_pack(name: str, trial: Any) -> None:
    backbone = frozen(name)
    modules = Modules(backbone, [layout(trial(name, **case)) for case in CASES[:4]])
    randomised(modules)
    modules.bind()
    all_four = logits(backbone, 4).chunk(4)
    modules.active = [0, 3]
    modules.bind()
    two = logits(backbone, 2).chunk(2)
    assert torch.equal(two[0], all_four[0])
    assert torch.equal(two[1], all_four[3])


@pytest.mark.parametrize("part", ["q", "k", "v"])
def test_a_branch_of_blooms_fused_layer_is_its_own_and_no_others(part: str, trial: Any) -> None:
    """The authors' code adds the query's branch to the value too (PAPER.md)."""
    backbone = frozen("tiny-bloom")
    seen: dict[str, Tensor] = {}
    layer = backbone.model.transformer.h[0].self_attention.query_key_value
    kinds = {"concat": (part,)}
    modules = Modules(backbone, [layout(trial("tiny-bloom", operations={"concat": 1}, sites=kinds, count=40 * 128))])
    randomised(modules)
    layer.register_forward_hook(
        lambda m, a, out: seen.update(out=out, plain=torch.nn.functional.linear(a[0], m.weight, m.bias))
    )
    modules.bind()
    logits(backbone)
    difference = (seen["out"] - seen["plain"]).unflatten(-1, (4, 3, 16))
    changed = [bool((difference[..., third, :].abs() > 1e-6).any()) for third in range(3)]
    assert changed == [part == kind for kind in "qkv"]


def test_initial_theta_is_zero_on_output_sides_and_drawn_on_input_sides(trial: Any) -> None:
    one_site = {"concat": ("q",)}
    chosen = layout(trial("tiny-bert", operations={"concat": 1}, sites=one_site, count=3 * 128))
    rows = initial_theta(chosen).reshape(3, 128)
    assert rows.dtype == np.float32
    assert np.all(rows[:, :64] == 0)
    assert np.all(rows[:, 64:] != 0)
    assert np.abs(rows).max() <= 64**-0.5


@pytest.mark.parametrize("name", FAMILIES)
def test_the_corrections_of_one_output_are_summed_in_one_order(name: str, trial: Any) -> None:
    """Another order is another last bit, and every stored result is of this one: (f + plug) + concat, then + add."""
    backbone = frozen(name)
    three = {"add": ("o",), "concat": ("o",), "plug": ("o",)}
    modules = Modules(backbone, [layout(trial(name, operations=dict.fromkeys(three, 1), sites=three, count=3000))])
    randomised(modules)
    modules.bind()
    add, concat, plug = modules._operations
    assert isinstance(add, Plane)
    layer = next(layer for layer in add.bound if layer in concat._bound and layer in plug._bound)
    x = torch.randn(3, 5, layer.module.weight.shape[1])
    with torch.no_grad():
        out = layer.module(x)
        hooks, layer.module._forward_hooks = layer.module._forward_hooks, OrderedDict()
        f = layer.module(x)
        layer.module._forward_hooks = hooks
        right, wrong = (plug, concat, add), (plug, add, concat)
        for order in (right, wrong):
            y = f
            for operation in order:
                y = operation.onto(layer, y, x, f)
            assert torch.equal(y, out) is (order is right)
    modules.close()
