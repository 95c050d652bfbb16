"""A gang from outside: packs on warm ranks, a request to stop, and what is said and printed."""

from __future__ import annotations

import json
import logging
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
from ganged_worker import REST
from gangs_for_tests import STEPS, ganged_pack, rows_by_trial
from leftovers import Leftovers

from trials.errors import ApetError
from trials.store.store import Store
from workers.gang.local import Local, LocalRanks
from workers.gang.supervisor import GangError, GangWorker

Make = Callable[..., GangWorker]


def test_ranks_stay_warm_from_pack_to_pack_and_print_nothing(
    gang: Make,
    store: Store,
    leftovers: Leftovers,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker, packs = gang(), [ganged_pack(name) for name in ("one", "two")]
    with caplog.at_level(logging.WARNING, "workers"):
        told = [progress for pack in packs for progress in worker.run(pack)]
    trials = [pack.members[0].trial.trial_id for pack in packs]
    assert [p.step for p in told] == 2 * [2, 4, 6, 8, 8]
    assert [ended.trial_id for p in told for ended in p.ended] == trials, "each once, whatever the ranks"
    rows = rows_by_trial(store)
    assert [rows[t]["pack_size"] for t in trials] == [1, 2], "the second is its worker's second"
    assert len({rows[t]["host"] for t in trials}) == 1, "of the same process"
    said = [r.getMessage() for r in caplog.records]
    assert said == [f"pack {name} begins at step 0" for name in ("one", "two")], "once, not by every rank"
    assert "".join(capfd.readouterr()).count("\n") <= len(said), "what libraries print is in a log"
    assert len(leftovers.pids()) == 2

    monkeypatch.setenv(REST, "0.2")
    list(worker.run(ganged_pack("three", ranks=1)))
    assert len(leftovers.pids()) == 1, "another number of ranks is another gang"
    assert len(rows_by_trial(store)) == 3


def test_stop_ends_a_pack_with_a_checkpoint_and_signals_to_ranks_mean_nothing(
    gang: Make, store: Store, leftovers: Leftovers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(REST, "0.05")
    worker, pack = gang(), ganged_pack(steps=1000)
    steps = []
    for progress in worker.run(pack, lambda: len(steps) > 1):
        steps.append(progress.step)
        for pid in leftovers.pids():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                os.kill(pid, number)
    assert [ended.state for ended in progress.ended] == ["interrupted"]
    assert store.load_checkpoint(pack.members[0].trial.trial_id) == str(progress.step).encode()
    assert not rows_by_trial(store)
    assert [p.step for p in worker.run(ganged_pack("next"))][-1] == STEPS, "the next pack isn't stopped"


def test_what_is_refused_is_said_once_and_the_gang_that_is_left_alone_ends(gang: Make, leftovers: Leftovers) -> None:
    worker = gang()
    with pytest.raises(ApetError) as refused:
        list(worker.run(ganged_pack(sweep="refused")))
    assert str(refused.value) == "no such luck on any rank"
    leftovers.nothing()
    left = worker.run(ganged_pack())
    next(left)
    left.close()
    leftovers.nothing()


def test_ranks_whose_settings_differ_refuse_with_both_values(gang: Make, store: Store) -> None:
    class Other(LocalRanks):
        def send(self, text: str, rank: int | None = None) -> None:
            for one in range(2) if rank is None else [rank]:
                order = json.loads(text)
                if one == 1 and "run" in order:
                    pack = json.loads(order["run"]["pack"])
                    order["run"]["pack"] = json.dumps({**pack, "setup": {**pack["setup"], "micro_batch": 3}})
                super().send(json.dumps(order) + "\n", one)

    class Elsewhere(Local):
        def start(self, ranks: int, device: str) -> LocalRanks:
            return Other(ranks, device)

    with pytest.raises(GangError, match="micro_batch is 3 on rank 1 and None on rank 0"):
        list(gang(Elsewhere()).run(ganged_pack()))
    assert not rows_by_trial(store)


def test_two_gangs_beside_each_other(gang: Make, store: Store) -> None:
    packs = [ganged_pack(name, steps=20) for name in ("one", "two")]
    runs: list[Any] = [gang().run(pack) for pack in packs]
    told = list(zip(*runs, strict=True))
    assert [p.pack_id for p in told[-1]] == ["one", "two"]
    assert len(rows_by_trial(store)) == 2


def test_memory_that_runs_out_while_others_wait_makes_the_gang_begin_anew_with_less(gang: Make, store: Store) -> None:
    """What has ended by then isn't run again, and nothing is said to have failed."""
    pack = ganged_pack(trials=2, sweep="short")
    ended = [ended.trial_id for progress in gang().run(pack) for ended in progress.ended]
    assert ended == [m.trial.trial_id for m in pack.members]
    rows = rows_by_trial(store)
    assert [rows[t]["steps_done"] for t in ended] == [STEPS // 2, STEPS - STEPS // 2 + 1], "from its checkpoint"
