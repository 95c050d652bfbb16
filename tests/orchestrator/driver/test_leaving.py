"""A machine that is about to be taken away: its packs end at their next batch, and go on elsewhere from there."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from desk import Desk, preempted
from drivers import parent
from fake_worker import WORKER, behave, todo
from raylets import raylet, raylets, with_a_rank

from orchestrator.driver import notice
from orchestrator.driver.ray import leaving as module
from orchestrator.driver.ray.nodes import Node
from orchestrator.driver.run import execute
from trials.store.store import Store
from trials.sweep.resources import Resources

LEAVES = "is about to be taken away; what trains there goes on elsewhere"
STEPS = 60  # of a gang


class Cloud:
    """What one tells a machine of itself: Amazon's and Google's pages, without a notice until it is ``given``."""

    def __init__(self) -> None:
        self.given = threading.Event()

    def answer(self, method: str, path: str, headers: dict[str, str]) -> str | None:
        """A page; None where there is none, or where a header lacks that it wants."""
        if method == "PUT":
            return (
                "secret" if path == "/latest/api/token" and "x-aws-ec2-metadata-token-ttl-seconds" in headers else None
            )
        if path == "/latest/meta-data/spot/instance-action" and headers.get("x-aws-ec2-metadata-token") == "secret":
            return '{"action": "terminate", "time": "2026-11-28T08:22:00Z"}' if self.given.is_set() else None
        if path == "/computeMetadata/v1/instance/preempted" and headers.get("metadata-flavor") == "Google":
            return "TRUE" if self.given.is_set() else "FALSE"
        return None


@contextmanager
def service() -> Iterator[tuple[Cloud, str]]:
    """Where a machine asks, and its address."""
    made = Cloud()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            said = made.answer(self.command, self.path, {k.lower(): v for k, v in self.headers.items()})
            self.send_response(404 if said is None else 200)
            self.end_headers()
            self.wfile.write((said or "").encode())

        do_PUT = do_GET

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield made, f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("variable", "before", "left_s"),
    [("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://", 120), ("GCE_METADATA_HOST", "", 30)],
)
def test_a_clouds_notice(variable: str, before: str, left_s: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # nobody: the service is asked without
    with service() as (made, address):
        monkeypatch.setenv(variable, before + address)
        assert notice.notice() == 0
        made.given.set()
        assert notice.notice() == left_s
    assert notice.notice() == 0, "one that doesn't answer has said nothing"


@pytest.mark.parametrize(("vendor", "asked"), [("Amazon EC2\n", True), ("QEMU\n", False), (None, False)])
def test_only_a_clouds_machine_asks(
    vendor: str | None, asked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for cloud in notice.CLOUDS:
        monkeypatch.delenv(cloud.variable, raising=False)
    monkeypatch.setattr(notice, "VENDOR", tmp_path / "vendor")
    if vendor is not None:
        (tmp_path / "vendor").write_text(vendor)
    seen = list[str]()
    amazon = notice.CLOUDS[0]._replace(ask=lambda address: seen.append(address) or True)  # type: ignore[func-returns-value]
    monkeypatch.setattr(notice, "CLOUDS", (amazon, *notice.CLOUDS[1:]))
    assert notice.notice() == (120 if asked else 0)
    assert seen == (["http://169.254.169.254"] if asked else [])


def test_a_machine_that_leaves_is_said_once_and_not_again_when_it_is_gone() -> None:
    desk = Desk(*(todo(i) for i in range(3)), retries=0)
    desk.take()
    for _ in range(2):
        desk.dispatch.leaves("id", "the-host")
    died = replace(preempted("it died"), node="id", host="the-host", lost=True)
    desk.dispatch.lost(next(iter(desk.dispatch.running)), died)
    (note,) = desk.notes
    assert note.startswith(f"the machine the-host {LEAVES}")
    assert desk.given_up == []


def test_a_notice_reaches_the_cluster_once_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    drained, looks, told = list[int](), list[object](), list[Node]()
    mine = Node({}, "the-host", "id")

    def drain(left_s: int) -> None:
        drained.append(left_s)
        if len(drained) == 1:
            raise TimeoutError("the head is busy")

    def first_of(nodes: object) -> Node | None:
        looks.append(nodes)
        return mine if len(looks) == 3 else None

    monkeypatch.setattr(module, "notice", lambda: 120)
    monkeypatch.setattr(module, "_drain", drain)
    monkeypatch.setattr(module, "_first_of", first_of)
    module.watch(["id"], told.append, look_s=0.01)
    end = time.monotonic() + 10
    while not told and time.monotonic() < end:
        time.sleep(0.01)
    assert (told, drained, looks) == ([mine], [120, 120], [["id"]] * 3)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", create=True)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with raylets(monkeypatch) as made:
        yield made


@contextmanager
def machines(cluster: Any, count: int) -> Iterator[dict[Any, Cloud]]:
    """Nodes with a CPU each, and what gives each its notice."""
    with ExitStack() as stack:
        clouds = [stack.enter_context(service()) for _ in range(count)]
        yield {
            cluster.add_node(num_cpus=1, env_vars={"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://{address}"}): cloud
            for cloud, address in clouds
        }


def drain(cluster: Any, node_id: str) -> None:
    """As a person does it."""
    words = ["drain-node", f"--address={cluster.address}", f"--node-id={node_id}", "--reason-message=test"]
    words += ["--reason=DRAIN_NODE_REASON_PREEMPTION", "--deadline-remaining-seconds=120"]
    subprocess.run([sys.executable, "-m", "ray.scripts.scripts", *words], check=True, timeout=60)


def ends(node: Any) -> bool:
    """Whether a node's raylet ends by itself, soon."""
    (info,) = node.all_processes["raylet"]
    return isinstance(info.process.wait(timeout=30), int)


@pytest.mark.cluster
@pytest.mark.timeout(200)
def test_a_run_that_begins_while_a_machine_is_about_to_leave(cluster: Any, store: Store) -> None:
    """It is kept by somebody else's work, sees no store of ours, and isn't asked for it."""
    import ray

    @ray.remote(num_cpus=1)
    class Busy:
        def where(self) -> str:
            return str(ray.get_runtime_context().get_node_id())

    leaves = cluster.add_node(num_cpus=1)
    busy = Busy.remote()
    assert ray.get(busy.where.remote()) == leaves.node_id
    cluster.add_node(num_cpus=1)
    drain(cluster, leaves.node_id)
    summary = execute([todo(0)], store, Resources(retries=0), address=cluster.address, quiet=True, worker=WORKER)
    assert (summary.completed, summary.failed) == (1, 0)
    assert leaves.node_id not in {row["node_type"] for row in store.attempts().to_pylist()}


def beside(call: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


@pytest.mark.cluster
@pytest.mark.timeout(200)
@pytest.mark.parametrize("by_notice", [False, True])
def test_packs_leave_the_machine(
    by_notice: bool, cluster: Any, store: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    """The one that has what takes longest."""
    with machines(cluster, 2) as clouds:
        todos, left = [todo(i) for i in range(3)], list[Any]()
        longest = todos[0].trial.trial_id
        behave(store, {longest: "sleep:8"})

        def take_away() -> None:
            while longest not in (running := store.running()):
                time.sleep(0.1)
            its = parent(int(running[longest]["worker_id"].rpartition("-")[2]))
            left.extend(node for node in clouds if raylet(node) == its)
            if by_notice:
                clouds[left[0]].given.set()
            else:
                drain(cluster, left[0].node_id)

        thread = beside(take_away)
        summary = execute(todos, store, Resources(retries=0), address=cluster.address, quiet=True, worker=WORKER)
        thread.join()
        assert ends(left[0]), "Ray ends a node when nothing is left on it"
    said = capfd.readouterr().err
    print(said)
    assert (summary.completed, summary.failed) == (3, 0)
    rows = store.attempts().to_pylist()
    assert [row["attempt"] for row in rows] == [0] * 3
    assert left[0].node_id not in {row["node_type"] for row in rows if row["trial_id"] == longest}
    assert said.count(LEAVES) == 1
    assert "was lost" not in said


@pytest.mark.cluster
@pytest.mark.timeout(200)
def test_a_gang_leaves_with_any_of_its_machines(
    cluster: Any, store: Store, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notice to a machine that has a rank and no worker."""
    monkeypatch.setenv("APET_TEST_REST_S", "0.3")
    one = todo(0, steps=STEPS)
    with machines(cluster, 3) as clouds:

        def take_away() -> None:
            while int(store.load_checkpoint(one.trial.trial_id) or b"0") < 4:
                time.sleep(0.1)
            (beat,) = store.running().values()
            its = parent(int(beat["worker_id"].rpartition("-")[2]))
            (told,) = (clouds[node] for node in clouds if raylet(node) != its and with_a_rank(raylet(node)))
            told.given.set()

        thread = beside(take_away)
        wanted = Resources(gpus=0, ranks=2, zero_stage=3, retries=0)
        worker = "ganged_worker:GangedWorker"
        summary = execute([one], store, wanted, address=cluster.address, quiet=True, worker=worker)
        thread.join()
    assert (summary.completed, summary.failed) == (1, 0)
    (row,) = store.attempts().to_pylist()
    assert (row["state"], row["attempt"], row["ranks"]) == ("completed", 0, 2)
    assert row["steps_done"] <= STEPS - 4, "from where it was"
    assert capfd.readouterr().err.count(LEAVES) == 1
