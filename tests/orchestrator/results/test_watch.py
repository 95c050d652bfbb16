"""status --watch: a store that is looked at until a sweep is through."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from shell import apet, row, small

from orchestrator.results import watch
from orchestrator.results.watch import LOCAL_S, REMOTE_S, looks
from trials.errors import ApetError
from trials.store.store import Store
from trials.sweep.sweep import Sweep

TWO = """\
name: two
backbones: [tiny-bert]
tasks: [rte]
methods: [bitfit]
learning_rates: [1.0e-3, 1.0e-2]
training: {steps: 4}
"""


def steps(*some: Callable[[], object]) -> Callable[[float], object]:
    """What happens while nobody looks, one thing a pause."""
    left = list(some)
    return lambda seconds: left.pop(0)()


def test_it_waits_for_a_store_and_ends_when_no_trial_is_missing_or_running(tmp_path: Path) -> None:
    sweep, store = Sweep.parse(TWO), Store(tmp_path / "s")
    first, second = sweep.trials()
    beat = {"trials": [first.trial_id], "backbone": "tiny-bert", "task": "rte"}
    events = steps(
        lambda: Store(tmp_path / "s", create=True),
        lambda: store.beat("run", "worker", beat),
        lambda: (store.append(row(first, "failed")), store.append(row(second))),
        lambda: store.end_run("run"),
    )
    found = list(looks(store, sweep, events))
    assert "no store at" in found[0].error
    totals = [(one.status.total.missing, one.status.total.running) for one in found if one.status]
    assert totals == [(2, 0), (1, 1), (0, 1), (0, 0)]
    assert [one.last for one in found] == [False] * 4 + [True]
    assert {one.every_s for one in found} == {LOCAL_S}
    assert REMOTE_S > LOCAL_S


def test_without_a_sweep_it_goes_on(tmp_path: Path) -> None:
    store = Store(tmp_path / "s", create=True)
    found = looks(store, None, steps(*[lambda: None] * 5))
    assert [next(found).error for _ in range(5)] == [""] * 5


def test_a_store_that_hiccups_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ApetError("503")

    store = Store(tmp_path / "s", create=True)
    with monkeypatch.context() as patch:
        patch.setattr(watch, "status", broken)
        with pytest.raises(ApetError, match="503"):
            next(looks(store))
    found = looks(store, None, steps(lambda: None, lambda: None))
    assert next(found).status is not None
    with monkeypatch.context() as patch:
        patch.setattr(watch, "status", broken)
        assert next(found).error == "503"
    assert next(found).status is not None


def test_a_pipe_gets_a_line_for_each_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, sweep = Store(tmp_path / "s", create=True), Sweep.parse(TWO)
    first, second = sweep.trials()
    events = steps(lambda: None, lambda: store.append(row(first)), lambda: store.append(row(second)))
    monkeypatch.setattr(watch, "looks", partial(looks, pause=events))
    done = apet("status", small(tmp_path, TWO), "--store", store.uri, "--watch")
    assert done.exit_code == 0
    assert [line[21:] for line in done.stdout.splitlines()] == [
        "0 done, 0 failed, 0 diverged, 0 running, 2 missing",
        "1 done, 0 failed, 0 diverged, 0 running, 1 missing",
        "2 done, 0 failed, 0 diverged, 0 running, 0 missing",
    ]


def test_ctrl_c_is_no_interrupted_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(watch, "looks", partial(looks, pause=interrupt))
    done = apet("status", "--store", Store(tmp_path / "s", create=True).uri, "--watch")
    assert (done.exit_code, done.stderr) == (130, "")
