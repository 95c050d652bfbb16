"""The study's training protocol: AdamW at a constant rate from the first step, no decay, no dropout, bf16 by device."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from trials import backbones
from workers import engines, weights
from workers.environment import precision_of
from workers.weights import NO_DROPOUT


class Slope(nn.Module):
    """A loss whose gradient is 1 everywhere: then each of Adam's steps is as long as the rate."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.full((3,), 5.0))

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """[1] loss."""
        return self.theta.sum()[None]


@pytest.mark.parametrize("name", engines.ENGINES)
def test_every_step_is_as_long_as_the_rate(name: str) -> None:
    """No warm-up, no decay of the rate, none of the weights (at 5.0, torch's default of 0.01 would show)."""
    model, rate = Slope(), 1e-2
    engine = engines.make(name, model, [engines.Group([model.theta], rate)])
    for step in range(1, 31):
        engine.backward(engine.losses({}).sum())
        engine.step()
        torch.testing.assert_close(model.theta.detach(), torch.full((3,), 5.0 - step * rate), rtol=0, atol=1e-5)
    engine.close()


@pytest.mark.parametrize("name", ["tiny-bert", "tiny-bloom", "tiny-t5"])
def test_no_dropout_even_in_training_mode(name: str) -> None:
    ref = backbones.get(name)
    model = weights._empty(ref).train()
    assert {m.p for m in model.modules() if isinstance(m, nn.Dropout)} <= {0.0}
    assert all(getattr(model.config, key) == 0.0 for key in NO_DROPOUT[ref.family])


def test_bf16_where_the_device_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for has in (True, False):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda has=has: has)
        assert precision_of("auto", "cuda") == ("bf16" if has else "fp32")
    assert precision_of("auto", "cpu") == "fp32"
    assert precision_of("bf16", "cpu") == "bf16"
