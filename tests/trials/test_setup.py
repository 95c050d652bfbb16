"""Set-ups that this release can't train are named, each with the rule."""

from __future__ import annotations

import pytest

from trials.setup import Setup, beyond


def test_one_device_that_holds_all_is_within_reach() -> None:
    for setup in (Setup(), Setup("cpu", threads=1), Setup("cuda", gpus=1, micro_batch=2, pack_size=8, memory=1)):
        assert beyond(setup) == ""


@pytest.mark.parametrize(
    ("setup", "says"),
    [
        (Setup("cuda", gpus=2, ranks=2), "2 GPUs at ZeRO stage 0, and this release"),
        (Setup("cuda", gpus=1, zero_stage=1), "one device at ZeRO stage 1, and"),
        (Setup("cuda", gpus=1, zero_stage=3, offload=True), "at ZeRO stage 3 with offload, and"),
        (Setup("cpu", ranks=2), "2 ranks"),
    ],
)
def test_everything_else_is_beyond(setup: Setup, says: str) -> None:
    assert says in beyond(setup)
    assert beyond(setup).endswith("on the CPU or on one GPU")
