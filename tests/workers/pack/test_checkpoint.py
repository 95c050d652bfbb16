"""Checkpoints and full fine-tuning: what is put back is bit for bit what was there."""

from __future__ import annotations

import pytest
import torch

from workers.backbone.full import fingerprint, trainable_backbone
from workers.pack.checkpoint import Checkpoint


def test_a_checkpoint_survives_its_round_trip() -> None:
    state = [{"step": torch.tensor(7.0), "exp_avg": torch.randn(5), "exp_avg_sq": torch.rand(5)}, {}]
    tensors = [torch.randn(5), torch.randn(2, 3)]
    facts = {"best_step": 4, "curve": [{"step": 2, "value": 0.5}], "train_loss": None}
    saved = Checkpoint("abc", 7, tensors, state, [tensors[0] + 1, tensors[1] + 1], facts)
    again = Checkpoint.from_bytes(saved.to_bytes())
    assert (again.trial_id, again.step, again.facts) == ("abc", 7, facts)
    for a, b in zip([*again.tensors, *again.best], [*tensors, tensors[0] + 1, tensors[1] + 1], strict=True):
        assert torch.equal(a, b)
    assert again.optimizer[1] == {}
    assert all(torch.equal(again.optimizer[0][k], v) for k, v in state[0].items())


def test_full_training_leaves_the_backbone_bit_for_bit() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4)).requires_grad_(False)
    before = fingerprint(model)
    with trainable_backbone(model) as params:
        optimizer = torch.optim.SGD(params, lr=0.1)
        model(torch.randn(3, 4)).square().sum().backward()
        optimizer.step()
        assert fingerprint(model) != before
    assert fingerprint(model) == before
    assert all(not p.requires_grad and p.grad is None for p in model.parameters())


def test_full_training_of_a_bf16_backbone_loses_no_small_step() -> None:
    """At 1e-5 most weights would round back to where they were; the backbone is bf16 again afterwards."""
    model = torch.nn.Linear(64, 64).to(torch.bfloat16).requires_grad_(False)
    before, start = fingerprint(model), model.weight.clone()
    with trainable_backbone(model) as params:
        optimizer = torch.optim.AdamW(params, lr=1e-5, weight_decay=0.0)
        for p in params:
            p.grad = torch.ones_like(p)
        optimizer.step()
        torch.testing.assert_close(model.weight, start.float() - 1e-5, rtol=0, atol=1e-7)
    assert model.weight.dtype == torch.bfloat16
    assert fingerprint(model) == before


def test_full_training_that_fails_leaves_the_backbone_too() -> None:
    model = torch.nn.Linear(4, 4).requires_grad_(False)
    before = fingerprint(model)

    def fail_halfway() -> None:
        with trainable_backbone(model) as params:
            params[0].data.add_(1)
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        fail_halfway()
    assert fingerprint(model) == before


def test_a_fingerprint_sees_one_changed_bit_and_a_swap() -> None:
    model = torch.nn.Linear(8, 1, bias=False)
    before = fingerprint(model)
    weight = model.weight.data
    first = weight[0, 0].item()
    weight[0, 0] = torch.nextafter(weight[0, 0], torch.tensor(9.0))
    assert fingerprint(model) != before
    weight[0, 0] = first
    assert fingerprint(model) == before
    weight[0, [0, 1]] = weight[0, [1, 0]]
    assert fingerprint(model) != before
