"""What nothing can run, whatever the machine, is named with its rule; a pack can't be made of it."""

from __future__ import annotations

import pytest

from trials.setup import Setup, beyond


@pytest.mark.parametrize(
    "setup",
    [
        Setup(),
        Setup("cpu", threads=1),
        Setup("cpu", ranks=2, zero_stage=3),
        Setup("cpu", zero_stage=1),
        Setup("cuda", gpus=1, micro_batch=2, pack_size=8, memory=1),
        Setup("cuda", gpus=4, ranks=4, zero_stage=3, offload=True, recompute=True),
    ],
)
def test_gangs_stages_and_offload_are_within_reach(setup: Setup) -> None:
    assert beyond(setup, batch_size=4) == ""


@pytest.mark.parametrize(
    ("setup", "says"),
    [
        (Setup("cuda", gpus=2), "1 ranks on 2 GPUs, and a rank holds one GPU"),
        (Setup("cpu", ranks=5), "5 ranks and batches of 4 rows, and ranks share the rows of a batch"),
        (Setup("cpu", zero_stage=3, offload=True), "offload on the CPU"),
        (Setup("cuda", gpus=1, ranks=1, offload=True), "offload at ZeRO stage 0"),
    ],
)
def test_what_nothing_can_run_is_named_with_its_rule(setup: Setup, says: str) -> None:
    assert beyond(setup, batch_size=4).startswith(says)
    assert "; give " in beyond(setup, batch_size=4)
