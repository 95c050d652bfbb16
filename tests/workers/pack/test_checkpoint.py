"""What a checkpoint gives back is bit for bit what was there."""

from __future__ import annotations

import torch

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
