"""What this release can't train is named, each with its rule and the way out."""

from __future__ import annotations

import pytest

from trials.errors import ApetError
from trials.limits import beyond, check


def test_one_device_that_holds_all_is_within_reach() -> None:
    for gpus in ("auto", 0, 1):
        check(gpus, 0, False)
    check()


def test_everything_else_is_refused_at_once() -> None:
    assert len(beyond(2, 3, True)) == 3
    with pytest.raises(ApetError, match=r"gpus is 2.*zero_stage is 3.*offload is true.*`apet plan`"):
        check(2, 3, True)
    for given in ({"gpus": 2}, {"zero_stage": 1}, {"offload": True}):
        assert len(beyond(**given)) == 1, given
