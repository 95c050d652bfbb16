"""Texts that packs generate on both kinds of devices, token by token those of each slice alone on a CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from device_for_tests import devices
from tiny_for_tests import answers, batch, frozen, randomised

from trials.modules.positions import layout
from workers.modules.model import PackModel
from workers.modules.modules import Modules

COUNTS = (900, 700, 500)


def generated(device: str, name: str, trial: Any, counts: tuple[int, ...]) -> list[list[str]]:
    """What each slice of a pack says to four prompts."""
    backbone = frozen(name)
    backbone.model.to(device)
    backbone.device = torch.device(device)
    members = [trial(name, count=n, trial={"position_seed": n}) for n in counts]
    modules = Modules(backbone, [layout(member) for member in members])
    randomised(modules)
    return answers(PackModel(backbone, modules), {key: x.to(device) for key, x in batch(name).items()})


@devices
@pytest.mark.parametrize("name", ["tiny-bloom", "tiny-t5"])
def test_a_pack_says_what_each_of_its_trials_says_alone_on_a_cpu(device: str, name: str, trial: Any) -> None:
    alone = [generated("cpu", name, trial, (count,))[0] for count in COUNTS]
    assert generated(device, name, trial, COUNTS) == alone
    assert len({str(one) for one in alone}) > 1, "they differ"
