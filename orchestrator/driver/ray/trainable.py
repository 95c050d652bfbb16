"""The thin adapter between Ray Tune and a worker: one Tune trial is one pack, one actor is one worker.

The actor is kept from pack to pack (``reuse_actors``), and with it the worker's warm backbone. Everything
that lasts is written by the worker itself; Tune only hears how far it is.
"""

from __future__ import annotations

import importlib
import os
import socket
import time
from collections.abc import Iterator
from typing import Any

from ray import tune

from orchestrator.driver.launch import Launch
from orchestrator.driver.ray.heartbeat import Heartbeat
from trials.pack import Pack
from trials.store.store import Store

PACK, LAUNCH = "pack", "launch"  # keys of the configuration; no pack: only start
REPORT, UP = "report", "up"  # keys of a result: a Report as text; whether a worker without a pack is up
UP_S = 0.1  # between two results of a worker without a pack


class PackTrainable(tune.Trainable):  # type: ignore[misc]  # ray has no types here
    """Runs packs one after the other on one worker."""

    begun: bool  # whether the pack at hand has taken a step
    open: set[str]  # its trials that have not ended

    def setup(self, config: dict[str, Any]) -> None:
        """Make the worker; called once per actor."""
        launch = Launch.from_json(config[LAUNCH])
        module, _, name = launch.worker.partition(":")
        store = Store(launch.store)
        self.worker = getattr(importlib.import_module(module), name)(store)
        self.heartbeat = Heartbeat(store, launch.run_id, f"{socket.gethostname()}-{os.getpid()}")
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next pack, on the same worker."""
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train to the pack's next evaluation; a pack that comes after the request to stop isn't begun."""
        if self.progress is None:
            time.sleep(UP_S)
            return {"done": False, UP: True}
        if not self.begun and self.heartbeat.should_stop():
            return {"done": True}
        self.begun = True
        progress = next(self.progress, None)
        if progress is None:
            return {"done": True}
        self.open -= {ended.trial_id for ended in progress.ended}
        if not self.open:
            next(self.progress, None)  # the generator's own end: it lets go of what the pack held
        self._beat(progress.step, progress.steps)
        return {"done": not self.open, REPORT: progress.to_json()}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: a trial's checkpoint is in the store. Tune fails a trial that lacks this method."""

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Nothing, see :meth:`save_checkpoint`."""

    def cleanup(self) -> None:
        """End the actor."""
        self.heartbeat.close()

    def _begin(self, config: dict[str, Any]) -> None:
        self.progress: Iterator[Any] | None = None
        self.begun: bool = False
        self.open: set[str] = set()
        if not config[PACK]:
            return
        pack = Pack.from_json(config[PACK])
        self.open = {member.trial.trial_id for member in pack.members}
        first = pack.members[0].trial  # all of a pack agree in backbone and task
        self.beat = {
            "pack_id": pack.pack_id,
            "sweep": pack.sweep,
            "backbone": first.backbone.name,
            "task": first.task.name,
            "trials": sorted(self.open),
            "since": time.time(),
        }
        self.progress = self.worker.run(pack, self.heartbeat.should_stop)
        self._beat(0, first.training.steps)

    def _beat(self, step: int, steps: int) -> None:
        self.heartbeat.say({**self.beat, "step": step, "steps": steps}, now=step == 0)
