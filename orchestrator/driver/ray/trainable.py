"""The thin adapter between Ray Tune and a worker: one Tune trial is one pack, one actor is one worker.

The actor is kept from pack to pack (``reuse_actors``), and with it the worker's warm backbone, in this process or, for
packs of several ranks, in those of its gang. Everything that lasts is written by the worker itself; Tune only hears how
far it is. A worker that can't go on ends the actor.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray import tune

from orchestrator.driver.launch import Launch
from orchestrator.driver.ray.deaths import WorkerBroken, broken
from orchestrator.driver.ray.heartbeat import Heartbeat
from orchestrator.driver.ray.leaving import watch
from orchestrator.driver.ray.nodes import Node, is_excluded, say_type
from orchestrator.driver.ray.orphan import end_with_parent
from orchestrator.driver.ray.ranks import RayLauncher, nodes
from orchestrator.driver.ray.resources import request
from orchestrator.driver.room import rank
from trials.code import differs, digest
from trials.failures import PREEMPTED
from trials.pack import Pack
from trials.setup import Setup
from trials.store.store import Store
from workers.gang.supervisor import GangError, GangWorker
from workers.pack.progress import Progress

PACK, LAUNCH, SETUP = "pack", "launch", "setup"  # keys of the configuration, texts; no pack: only start
EXCLUDED, NEAR = "excluded", "near"  # more of them: nodes that it must not go to, the one that it should
REPORT, NODE = "report", "node"  # keys of a result: a Progress as text; Ray's id of the worker's node
UP, REFUSED = "up", "refused"  # whether a worker without a pack is up; whether the pack was not begun
LEAVING = "leaving"  # Ray's id and the host of a node that is about to be taken away
OTHER_CODE = "other_code"  # why this node can't have packs of the run: what a person reads
UP_S = 0.1  # between two results of a worker without a pack
DEVICE = "APET_DEVICE"  # for tests on nodes without a GPU: packs hold the GPUs that Ray was told of and train on `cpu`


class PackTrainable(tune.Trainable):  # type: ignore[misc]  # ray has no types here
    """Runs packs one after the other on one worker."""

    progress: Iterator[Progress] | None  # of the pack at hand
    begun: bool  # whether it has taken a step
    open: set[str]  # its trials that have not ended
    beat: dict[str, Any]  # what a heartbeat says of it
    other_code: str = ""  # this machine has other code than the driver
    leaving: tuple[str, str] | None = None  # a node that is about to be taken away: its id, its host

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """What a pack takes, by its set-up; Tune asks for it before there is an actor."""
        return request(Setup(**json.loads(config[SETUP])), config[EXCLUDED].split(), config[NEAR])

    def setup(self, config: dict[str, Any]) -> None:
        """Make the worker; called once per actor."""
        say_type()
        end_with_parent()
        launch = Launch.from_json(config[LAUNCH])
        store = Store(launch.store)
        self.run_id, self.node = launch.run_id, ray.get_runtime_context().get_node_id()
        if launch.code and launch.code != digest():
            self.other_code = differs(socket.gethostname(), digest(), launch.code)
        setup = Setup(**json.loads(config[SETUP]))
        self.worker: Any = None if self.other_code else worker_of(setup, launch, store)
        self.nodes = nodes() if isinstance(self.worker, GangWorker) else ()
        self.heartbeat = Heartbeat(store, launch.run_id, f"{socket.gethostname()}-{os.getpid()}")
        if threading.current_thread() is threading.main_thread():
            signal.signal(
                signal.SIGTERM, lambda number, frame: self.heartbeat.stop()
            )  # Ray's would leave no checkpoint
        watch(self.nodes or (self.node,), self._leave)
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next pack, on the same worker."""
        self._begin(new_config)
        return True

    def reset(self, new_config: dict[str, Any], storage: Any = None) -> bool:
        """Tune's own; then the last pack's working directory goes: those of 10 000 packs take a minute to remove."""
        before = Path(self.logdir)
        done = bool(super().reset(new_config, storage=storage))
        with suppress(OSError):  # it isn't empty, or it is this pack's too
            before.rmdir()
        return done

    def step(self) -> dict[str, Any]:
        """Train to the pack's next evaluation; a pack that comes after the request to stop isn't begun.

        Raises:
            WorkerBroken: the worker raised: it can't go on, and this actor ends.
        """
        if self.other_code:
            return {"done": True, REFUSED: True, NODE: self.node, OTHER_CODE: self.other_code}
        if self.progress is None:
            time.sleep(UP_S)
            return {"done": False, UP: True}
        if not self.begun:
            if self.heartbeat.told:  # by nobody of ours: whoever it was gets this process, another one takes the pack
                why = f"{self.leaving[1]} is about to be taken away" if self.leaving else "its process was told to stop"
                raise WorkerBroken("Stopped", why, self.node, socket.gethostname(), PREEMPTED)
            if self.heartbeat.should_stop():
                return {"done": True}
            if is_excluded(self.run_id, self.node):
                return {"done": True, REFUSED: True}
        self.begun = True
        try:
            progress = next(self.progress, None)
            if progress is None:
                return {"done": True, NODE: self.node}
            self.open -= {ended.trial_id for ended in progress.ended}
            if not self.open:
                next(self.progress, None)  # the generator's own end: it lets go of what the pack held
        except Exception as error:
            raise broken(error, *self._blamed(error), self.nodes) from error
        self._beat(progress.step, progress.steps, now=bool(progress.ended))
        gone = {} if self.leaving is None else {LEAVING: self.leaving}
        return {"done": not self.open, REPORT: progress.to_json(), NODE: self.node, **gone}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: a trial's checkpoint is in the store. Tune fails a trial that lacks this method."""

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Nothing, see :meth:`save_checkpoint`."""

    def cleanup(self) -> None:
        """End the actor, and the gang that it may have."""
        if isinstance(self.worker, GangWorker):
            self.worker.close()
        self.heartbeat.close()

    def _leave(self, node: Node) -> None:
        """A node that it needs is about to be taken away."""
        self.leaving = node.node_id, node.host
        self.heartbeat.stop()

    def _blamed(self, error: Exception) -> tuple[str, str]:
        """The node where an error arose, and its host: of a rank's its own."""
        place = self.worker.launcher.place(error.rank) if isinstance(error, GangError) else None
        return (place.node, place.host) if place else (self.node, socket.gethostname())

    def _begin(self, config: dict[str, Any]) -> None:
        self.progress, self.begun, self.open = None, False, set()
        if not config[PACK] or self.other_code:
            return
        pack = Pack.from_json(config[PACK])
        if device := os.environ.get(DEVICE):
            pack = replace(pack, setup=replace(pack.setup, device=device))
        self.open = {member.trial.trial_id for member in pack.members}
        first = pack.members[0].trial  # all of a pack agree in backbone and task
        self.beat = {
            "host": socket.gethostname(),
            "pack_id": pack.pack_id,
            "sweep": pack.sweep,
            "backbone": first.backbone.name,
            "task": first.task.name,
            "since": time.time(),
        }
        self.progress = self.worker.run(pack, self.heartbeat.should_stop)
        self._beat(0, first.training.steps, now=True)

    def _beat(self, step: int, steps: int, now: bool) -> None:
        """Say what trains; a trial that has ended doesn't, though its pack may."""
        self.heartbeat.say({**self.beat, "trials": sorted(self.open), "step": step, "steps": steps}, now=now)


def worker_of(setup: Setup, launch: Launch, store: Store) -> Any:
    """The worker of all packs that ask for what this set-up takes: itself, or the gang of ranks of which each has one.

    Args:
        setup: with the memory that Ray was asked for.
        launch: names the worker.
        store: of the run.
    """
    if setup.ranks > 1:
        return GangWorker(store, RayLauncher(rank(setup), setup.machines, launch.code), worker=launch.worker)
    module, _, name = launch.worker.partition(":")
    return getattr(importlib.import_module(module), name)(store)
