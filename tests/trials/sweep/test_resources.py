"""Wishes of a sweep: what excludes each other is refused with both names, wherever it is said."""

from __future__ import annotations

import pytest

from trials.errors import Problems
from trials.sweep.resources import Resources


def test_a_setting_is_judged_together_with_what_the_sweep_says() -> None:
    wanted = Resources(gpus=2)
    assert wanted.with_(["resources.ranks=2", "resources.recompute=true"]) == Resources(gpus=2, ranks=2, recompute=True)
    with pytest.raises(Problems, match=r"resources\.ranks: 4, but resources\.gpus is 2"):
        wanted.with_(["resources.ranks=4"])
    with pytest.raises(Problems, match=r"resources\.offload: true, but resources\.gpus is 0"):
        wanted.with_(["resources.gpus=0", "resources.offload=true"])


@pytest.mark.parametrize(
    "wanted",
    [
        Resources(gpus=0, ranks=4, zero_stage=3),
        Resources(gpus=0, ranks=1, zero_stage=2),
        Resources(gpus=4, ranks=4, offload=True, zero_stage=3),
        Resources(ranks=4),
        Resources(offload=False, zero_stage=0),
    ],
    ids=str,
)
def test_what_goes_together_is_let_through(wanted: Resources) -> None:
    wanted.check(batch_size=4)


def test_ranks_never_outnumber_rows() -> None:
    for wanted in (Resources(ranks=5), Resources(gpus=5)):
        with pytest.raises(Problems, match=r"5, but training\.batch_size is 4, .* give 4 at most"):
            wanted.check(batch_size=4)
