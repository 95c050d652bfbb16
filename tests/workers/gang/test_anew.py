"""A real pack whose memory runs out on one rank while the others wait for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import short_worker
from gangs import TOLERANCE
from worker_for_tests import pack_of, run, scores

from trials.store.store import Store
from workers.gang.supervisor import GangWorker
from workers.worker import Worker


@pytest.mark.slow
def test_the_gang_goes_on_with_fewer_trials_at_a_time(
    gang: Callable[..., GangWorker],
    store: Store,
    folder: Path,
    tmp_path: Path,
    trial: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    trials = [trial("tiny-bert", count=300), trial("tiny-bert", "lora")]
    pack = pack_of(folder, *trials)
    alone = Store(tmp_path / "alone", create=True)
    run(Worker(alone), pack)
    pack = replace(pack, setup=replace(pack.setup, ranks=2))
    told = list(gang(worker=short_worker.WORKER).run(pack))
    ended = [(e.trial_id, e.state) for progress in told for e in progress.ended]
    assert ended == [(x.trial_id, "completed") for x in trials]
    assert {progress.pack_size for progress in told} == {1}, "so the driver makes smaller packs"
    for x in trials:
        assert scores(store, x) == pytest.approx(scores(alone, x), abs=TOLERANCE)
