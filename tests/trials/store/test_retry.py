"""A store that hiccups: again and again, later and later, for minutes at most."""

from __future__ import annotations

from typing import Any

import pytest

from trials.errors import ApetError
from trials.failures import InfrastructureError
from trials.store import retry
from trials.store.retry import patiently, shortly
from trials.store.s3 import Unreachable


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    seconds: list[float] = []
    monkeypatch.setattr(retry, "wait", seconds.append)
    return seconds


class Hiccup:
    """Fails so many times, then gives its arguments back."""

    def __init__(self, times: int, error: Exception) -> None:
        self.left, self.error = times, error

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.left:
            self.left -= 1
            raise self.error
        return args, kwargs


@pytest.mark.parametrize("error", [ApetError("no space"), OSError("broken pipe")])
@pytest.mark.parametrize("times", [0, 1, 10])
def test_a_call_that_succeeds_in_the_end(times: int, error: Exception, waited: list[float]) -> None:
    assert patiently(Hiccup(times, error), 1, two=2) == ((1,), {"two": 2})
    assert waited == list(retry.DELAYS[:times])


def test_delays_grow_and_are_some_minutes_in_all() -> None:
    assert list(retry.DELAYS) == sorted(retry.DELAYS)
    assert 60 < sum(retry.DELAYS) < 600


def test_a_call_that_never_succeeds_is_infrastructure(waited: list[float]) -> None:
    with pytest.raises(InfrastructureError, match="tried 11 times: no space") as raised:
        patiently(Hiccup(11, ApetError("no space")))
    assert isinstance(raised.value.__cause__, ApetError)
    assert waited == list(retry.DELAYS)


def test_other_errors_are_raised_at_once(waited: list[float]) -> None:
    with pytest.raises(AssertionError):
        patiently(Hiccup(1, AssertionError("ours")))
    assert waited == []


def test_who_waits_for_an_answer_waits_some_seconds_at_most(waited: list[float]) -> None:
    assert shortly(Hiccup(2, Unreachable("busy")), 1, two=2) == ((1,), {"two": 2})
    with pytest.raises(Unreachable, match="busy"):
        shortly(Hiccup(len(retry.SHORT) + 1, Unreachable("busy")))
    assert waited == [*retry.SHORT[:2], *retry.SHORT]
    assert sum(retry.SHORT) < 30


def test_what_does_not_pass_is_said_at_once(waited: list[float]) -> None:
    with pytest.raises(ApetError, match="denied"):
        shortly(Hiccup(1, ApetError("denied")))
    assert waited == []
