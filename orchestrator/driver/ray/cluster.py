"""Ray itself: a private cluster on this machine or an existing one, quiet, and gone when the run ends."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.driver.ledger import Ledger
from orchestrator.driver.ray.guardian import guarded, marked
from orchestrator.planning.devices import ASSUMED, Machine, here
from trials.errors import ApetError
from trials.store.store import Store

PREFIX = "apet-"
PRINTS = "_worker_logs_enabled"  # of ray._private.worker
KNOCK_S = 5.0
LOOK_S = 5.0
PROBE_S = 120.0  # a node may have to start a process first
OBJECT_STORE_BYTES = 128 * 2**20  # packs and reports are a few kilobytes

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # the coming default; silences a notice
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths keep their meaning
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",  # experiment state is written once, and never read
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "-1",
}


@dataclass(frozen=True)
class Cluster:
    """Where packs run.

    Args:
        workers: packs that run at a time; None on a cluster that may grow.
        machines: what packs may run on.
        directory: for Tune's and Ray's own files, removed at the end.
        private: it has one node, this machine, and gets no other.
        resources: what one worker takes, as Tune's resources of a trial.
    """

    workers: int | None
    machines: tuple[Machine, ...]
    directory: Path
    private: bool
    resources: Mapping[str, float] = field(default_factory=dict)

    @property
    def logs(self) -> Path:
        """Ray's own logs; an empty place where Ray was there before us."""
        return self.directory / "session_latest" / "logs"


@contextmanager
def cluster(packs: int, address: str | None, max_concurrent: int | None) -> Iterator[Cluster]:
    """Start or join Ray for one run.

    Args:
        packs: how many there are; no more workers are started.
        address: of a running Ray cluster; None starts one on this machine, which nobody else joins.
        max_concurrent: packs at a time at most.

    Raises:
        ApetError: nothing answers at ``address``.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    with _directory() as directory, _quiet():
        ours = not ray.is_initialized()
        try:
            if ours:
                _start(ray, directory, packs, address, max_concurrent)
            yield _capacity(ray, directory, packs, address, max_concurrent)
        finally:
            if ours:
                ray.shutdown()


def probe(store: Store, run_id: str) -> None:
    """Make sure that every node sees the store: a file that we write, looked for by a task on each.

    Nodes that join later are covered by the look at every row that a worker reports.

    Raises:
        ApetError: with the nodes that don't see it.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    uri, name = Ledger(store).uri, f"{run_id}-probe"

    @ray.remote(num_cpus=0, max_retries=0)  # type: ignore[untyped-decorator]  # ray has no types here
    def sees() -> bool:
        return Store(uri).stop_requested(name)

    store.request_stop(name)
    try:
        blind = []
        for node in (node for node in ray.nodes() if node["Alive"]):
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            if not ray.get(sees.options(scheduling_strategy=there).remote(), timeout=PROBE_S):
                blind.append(node["NodeManagerAddress"])
    finally:
        store.end_run(name)
    if blind:
        raise ApetError(
            f"store {store.uri}: not seen by {len(blind)} nodes of the cluster ({', '.join(blind)}), whose rows would "
            "be lost; give a path on a shared file system, or a bucket such as s3://bucket/study"
        )


def lookout(place: Cluster) -> Callable[[], None]:
    """A look, every LOOK_S at most, whether a private cluster still has its node: without it packs wait for ever.

    The look raises ApetError where the node is gone. A cluster that was there before may get new ones, and is waited
    for.
    """
    import ray

    last = time.monotonic()

    def look() -> None:
        nonlocal last
        if not place.private or time.monotonic() - last < LOOK_S:
            return
        last = time.monotonic()
        if not any(node["Alive"] for node in ray.nodes()):
            raise ApetError(
                "Ray's processes on this machine ended, killed from outside or for lack of memory; what is finished "
                "has its rows: run the same command again"
            )

    return look


def _start(ray: Any, directory: Path, packs: int, address: str | None, max_concurrent: int | None) -> None:
    common: dict[str, Any] = {"logging_level": logging.CRITICAL, "log_to_driver": False}
    if address is not None:
        try:
            _knock(address)
            ray.init(address=address, **common)
        except (OSError, RuntimeError, ValueError) as error:
            raise ApetError(
                f"no Ray cluster answers at {address!r} ({error}); start one with `ray up cluster.yaml` or "
                "`ray start --head`, or leave out --address to run on this machine"
            ) from None
        return
    with marked(directory):
        ray.init(
            address="local",
            num_cpus=max(1, min(here().cpus, packs, max_concurrent or packs)),
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            _temp_dir=str(directory),
            **common,
        )


def _knock(address: str) -> None:
    """Make sure that somebody listens at ``host:port`` or ``ray://host:port``: Ray itself would try for ten minutes.

    Raises:
        OSError: nobody does, within KNOCK_S.
    """
    host, colon, port = address.rpartition("://")[2].partition("/")[0].rpartition(":")
    if colon and port.isdecimal():
        with socket.create_connection((host.strip("[]"), int(port)), KNOCK_S):
            pass


def _capacity(ray: Any, directory: Path, packs: int, address: str | None, max_concurrent: int | None) -> Cluster:
    workers = min(packs, max_concurrent or packs) if address is None else max_concurrent
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(workers or packs)  # workers that start at a time
    machines = (here(),) if address is None else tuple(map(_machine, ray.nodes()))
    return Cluster(workers, machines, directory, address is None)


def _machine(node: Mapping[str, Any]) -> Machine:
    """A node, whose cards are taken to be as large as those that ``plan`` assumes."""
    has = node["Resources"]
    gpus = int(has.get("GPU", 0))
    cards = ASSUMED.card_bytes if gpus else 0
    return Machine(int(has.get("CPU", 0)), int(has.get("memory", 0)), gpus, cards, name=node["NodeManagerAddress"])


@contextmanager
def _directory() -> Iterator[Path]:
    """A temporary directory, removed at the end, whether we or our guardian live to see it."""
    base = Path(tempfile.gettempdir())
    if len(str(base)) > 30:  # Ray puts sockets below, whose paths have at most 107 bytes
        base = Path("/tmp")
    directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
    with guarded(directory):
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Ray says nothing, its loggers and what it prints of processes that died: that comes back as rows."""
    import ray._private.worker as printer

    loggers = [logging.getLogger(name) for name in ("ray", "ray.tune", "ray.train", "ray.data")]
    before = [logger.level for logger in loggers]
    printed = getattr(printer, PRINTS, True)  # no public switch: it prints to stdout, among our results
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        setattr(printer, PRINTS, False)
        yield
    finally:
        setattr(printer, PRINTS, printed)
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
