"""Methods and operations against second opinions: PEFT, real biases, torch's own layers.

The second opinions are the opponents of ``benchmarks/modules.py``: what is compared in speed there is equal here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import opponents
import pytest
import tiny_for_tests
import torch
from tiny_for_tests import FAMILIES
from torch import Tensor

from trials.modules.positions import Layout, layout
from trials.modules.sites import linear_kinds, sites
from workers.modules.model import PackModel
from workers.modules.modules import Modules

TOLERANCE = 1e-5
STEPS = 5
RATE = 1e-3
APET: list[dict[str, Any]] = [
    {"operations": {"add": 1}, "count": 100},
    {"operations": {"concat": 1}, "count": 901},
    {"operations": {"plug": 1}, "count": 333},
    {"operations": {"add": 1, "concat": 2, "plug": 3}, "count": 2000},
    {"operations": {"add": 1, "concat": 2, "plug": 3}, "count": 2000, "placement": "adjacent"},
]


def frozen(name: str) -> Any:
    """A tiny backbone whose real biases aren't zero."""
    backbone = tiny_for_tests.frozen(name)
    for i, (key, p) in enumerate(backbone.model.named_parameters()):
        if key.endswith("bias"):
            p.data += noise(p.numel(), i)
    return backbone


def noise(n: int, seed: int) -> Tensor:
    return torch.from_numpy(np.random.RandomState(seed).randn(n) * 0.1).float()


def outputs(backbone: Any) -> Tensor:
    """Logits of three rows, the last one padded; T5 with four target tokens."""
    ids = torch.arange(3 * 7).view(3, 7) * 31 % 2000 + 10
    mask = torch.ones_like(ids)
    mask[2, 5:] = 0
    inputs = {"input_ids": ids, "attention_mask": mask}
    if backbone.ref.family == "t5":
        inputs["decoder_input_ids"] = ids[:, :4]
    return backbone.model(**inputs).logits


def loss(backbone: Any) -> Tensor:
    return outputs(backbone).logsumexp(-1).square().mean()


def compare(name: str, chosen: Layout, opponent_of: Any) -> None:
    """Outputs, the gradient of every scalar, and θ after steps of AdamW, from a θ away from its start."""
    ours, theirs = frozen(name), frozen(name)
    modules = Modules(ours, [chosen])
    theta = modules.thetas[0]
    theta.data += noise(len(theta), seed=1)
    opponent = opponent_of(theirs, chosen)
    opponent.put(theta.detach())
    torch.testing.assert_close(opponent.values(), theta.detach())

    alive = not_key_biases(chosen)
    plain = outputs(frozen(name))
    modules.bind()
    assert (outputs(ours) - plain).abs().max() > 0.1, "the modules must matter"
    close(outputs(ours), outputs(theirs))

    optimizers = [torch.optim.AdamW(p, lr=RATE, weight_decay=0.0) for p in ([theta], opponent.parameters)]
    for step in range(STEPS):
        modules.bind()
        loss(ours).backward()
        loss(theirs).backward()
        if step == 0:
            assert (theta.grad[alive] != 0).all()
            close(theta.grad, opponent.gradient())
        opponent.freeze_the_rest()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    assert (opponent.values() - theta.detach())[alive].abs().max() < TOLERANCE
    modules.close()


def not_key_biases(chosen: Layout) -> Tensor:
    """Which scalars of θ have a say: softmax doesn't see a shift of all keys, and Adam takes rounding for one."""
    alive = torch.ones(chosen.count, dtype=torch.bool)
    start = 0
    for group in chosen.ops[0].groups if chosen.ops[0].op == "add" else ():
        alive[start : start + len(group.units)] = not group.site.kind.endswith("k")
        start += len(group.units)
    return alive


def close(a: Tensor, b: Tensor) -> None:
    assert a.shape == b.shape
    torch.testing.assert_close(a, b, atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("name", FAMILIES)
def test_lora_is_pefts(name: str, trial: Any) -> None:
    compare(name, layout(trial(name, "lora", rank=3, alpha=6.0)), lambda b, x: opponents.lora(b, x, 3, 6.0))


@pytest.mark.parametrize("name", FAMILIES)
def test_adapter_is_two_layers_with_biases(name: str, trial: Any) -> None:
    compare(name, layout(trial(name, "adapter", bottleneck=5)), opponents.plain)


@pytest.mark.parametrize("name", FAMILIES)
def test_bitfit_trains_what_real_biases_would(name: str, trial: Any) -> None:
    chosen = trial(name, "bitfit")
    if name == "tiny-t5":  # its norms have no place for a bias
        kinds = linear_kinds("t5")
        count = sum(site.d_out for site in sites(chosen.backbone) if site.kind in kinds)
        chosen = trial(name, operations={"add": 1}, sites={"add": kinds}, count=count)
    compare(name, layout(chosen), opponents.biases)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("case", APET, ids=lambda c: "-".join(map(str, c.values())))
def test_apet_is_its_definition(name: str, case: dict[str, Any], trial: Any) -> None:
    compare(name, layout(trial(name, **case)), opponents.plain)


@pytest.mark.parametrize("name", FAMILIES)
def test_prompt_is_pefts_prompt_tuning(name: str, trial: Any) -> None:
    """The benchmark's opponent; ``test_soft_tokens.py`` goes further."""
    chosen, rows = trial(name, "prompt", tokens=4), tiny_for_tests.batch(name, padded=False)
    rows.pop("token_type_ids", None)  # PEFT drops them
    theirs = frozen(name)
    opponent = opponents.prompt(theirs, layout(chosen), 4)
    reference = PackModel(theirs, None, label_words=tiny_for_tests.WORDS if name == "tiny-bert" else None)
    with tiny_for_tests.pack(frozen(name), [chosen]) as (model, modules):
        theta = modules.thetas[0]
        theta.data += noise(len(theta), seed=1)
        opponent.put(theta.detach())
        losses = (model(rows), reference(rows))
        for loss in losses:
            loss.sum().backward()
        close(*losses)
        close(theta.grad, opponent.gradient())
