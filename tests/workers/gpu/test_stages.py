"""DeepSpeed's stages 0 and 3 on one card take the steps that plain PyTorch takes, packed and alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from device_for_tests import CLOSE, ON_CARD, every_method, losses, pack_on, trained
from trials_for_tests import FAMILIES
from worker_for_tests import rows_of

ON_ONE_KIND = pytest.mark.skipif(torch.cuda.is_available(), reason="a process has DeepSpeed for one kind of device")


@pytest.mark.parametrize(  # on a CPU the engines' tests have the others
    ("device", "name", "stage"),
    [
        pytest.param("cpu", "tiny-t5", 3, marks=ON_ONE_KIND),
        *(pytest.param("cuda", name, stage, marks=ON_CARD.marks) for name in FAMILIES for stage in (0, 3)),
    ],
)
def test_a_stage_trains_what_plain_torch_trains(
    device: str, name: str, stage: int, folder: Path, tmp_path: Path, trial: Any
) -> None:
    trials = every_method(name, trial, "bf16" if device == "cuda" else "fp32")
    plain = trained(tmp_path / "plain", pack_on(device, folder, *trials), "plain")
    staged = trained(tmp_path / "staged", pack_on(device, folder, *trials, zero_stage=stage), "deepspeed")
    for one in trials:
        row = rows_of(staged)[one.trial_id]
        assert row["zero_stage"] == stage
        assert losses(staged, one) == pytest.approx(losses(plain, one), rel=CLOSE[row["precision"]]), one.method
