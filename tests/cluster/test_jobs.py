"""submit, resubmit --cluster and Ray's own commands for jobs, on a head with a dashboard and a token."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from drivers import write_reviews
from head import Head
from shell import row

from trials.store.store import Store
from trials.sweep.sweep import Sweep

pytestmark = pytest.mark.cluster
SWEEP = """\
name: {name}
backbones: [tiny-bert]
tasks: [{{name: rotten_tomatoes, data_dir: {data}}}]
methods: [bitfit, {{method: apet, counts: [10]}}]
learning_rates: [1.0e-3]
training: {{steps: {steps}, batch_size: 4, eval_every: {every}}}
"""


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with Head() as found:
        write_reviews(found.folder / "reviews")
        yield found


@pytest.fixture
def store(head: Head, request: pytest.FixtureRequest) -> Store:
    return Store(head.folder / f"store-{request.node.name}")


def sweep(head: Head, name: str, steps: int = 4) -> Path:
    """A sweep file of two trials on the laptop."""
    path = head.folder / "laptop" / f"{name}.yaml"
    path.write_text(SWEEP.format(name=name, data=head.folder / "reviews", steps=steps, every=steps // 2))
    return path


def states(store: Store) -> list[str]:
    return sorted(state for state, _ in store.visible().values())


def until(holds: Callable[[], Any], seconds: float = 120.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end
        time.sleep(0.2)
    return found


def begun(store: Store) -> bool:
    """Whether something of every trial is in hand and has been kept."""
    return len(list((store.folder or Path()).glob("checkpoints/*/*"))) == 2


def test_submit_follows_and_a_second_time_does_nothing(head: Head, store: Store) -> None:
    given = ("submit", sweep(head, "tiny"), "--cluster", head.url, "--store", store.uri)
    code, said = head.apet(*given)
    assert code == 0, said
    assert "2 completed, 0 diverged, 0 failed" in said
    assert states(store) == ["completed", "completed"]
    code, said = head.apet(*given)
    assert (code, "nothing to do: all 2 trials have their rows" in said) == (0, True), said


def test_the_exit_code_is_1_with_failed_trials_and_resubmit_makes_them_anew(head: Head, store: Store) -> None:
    path = sweep(head, "failed")
    loaded = Sweep.load(path)
    first, second = loaded.trials()
    sources = loaded.sources(first)
    places = {"weights_source": sources.weights, "data_source": sources.data, "sweep": "failed"}
    store.append(row(first, "failed", error_class="OSError", failure_class="infrastructure", **places))
    store.append(row(second, **places))
    code, said = head.apet("submit", path, "--cluster", head.url, "--store", store.uri)
    assert (code, "apet resubmit --store" in said) == (1, True), said
    code, said = head.apet("resubmit", "--cluster", head.url, "--store", store.uri)
    assert (code, "1 completed" in said) == (0, True), said
    assert states(store) == ["completed", "completed"]


def test_what_the_head_refuses_is_exit_2(head: Head) -> None:
    (head.folder / "file").write_text("no folder")
    store = head.folder / "file" / "store"
    code, said = head.apet("submit", sweep(head, "refused"), "--cluster", head.url, "--store", store)
    assert code == 2
    assert re.search(rf"apet: .*{store}", said)


@pytest.mark.parametrize(
    ("token", "says"), [(None, "401: it wants a token, none is here"), ("wrong", "403: it has an")]
)
def test_without_the_right_token(head: Head, store: Store, token: str | None, says: str) -> None:
    given = ("submit", sweep(head, "token"), "--cluster", head.url, "--store", store.uri)
    code, said = head.apet(*given, token=token)
    assert (code, says in said, "~/.ray/auth_token" in said) == (2, True, True), said
    assert not store.exists()


def test_stop_keeps_checkpoints_and_the_next_submit_goes_on(head: Head, store: Store) -> None:
    given = ("submit", sweep(head, "stopped", steps=1500), "--cluster", head.url, "--store", store.uri)
    with (head.folder / "followed.log").open("w+") as log:
        first = head.laptop(*given, stdout=log)
        until(lambda: "2 trials to run" in Path(log.name).read_text())
        second = head.laptop(*given)
        until(store.running)
        time.sleep(3)
        second.send_signal(signal.SIGINT)
        said, _ = second.communicate(timeout=60)
        job = re.search(r"already: job (\S+), for", said)
        assert (second.returncode, job is not None, "no longer following" in said) == (130, True, True), said
        assert first.poll() is None  # the job goes on
        assert job is not None
        head.ray("job", "stop", job[1])
        assert first.wait(timeout=60) == 143
        said = Path(log.name).read_text()
    assert "stopping: what trains ends at its next batch and keeps a checkpoint" in said
    assert "2 remain: run the same command again to go on" in said
    assert "was stopped" in said
    assert begun(store)
    code, said = head.apet(*given)
    assert (code, states(store)) == (0, ["completed", "completed"]), said
    assert not list((store.folder or Path()).glob("checkpoints/*/*"))


def test_max_hours_stops_with_checkpoints(head: Head, store: Store) -> None:
    given = ("submit", sweep(head, "long", steps=200_000), "--cluster", head.url, "--store", store.uri)
    code, said = head.apet(*given, "--max-hours", 25 / 3600)
    assert (code, begun(store)) == (143, True), said
    assert re.search(r"2 remain: .*\n.*--max-hours \S+ is over.*\n.* was stopped", said)


def test_by_hand_with_rays_own_command(head: Head, store: Store) -> None:
    path = sweep(head, "hand")
    folder = head.folder / "by-hand"
    folder.mkdir()
    path.rename(folder / "hand.yaml")
    environment = '{"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "120"}}'
    said = head.ray(
        *("job", "submit", "--working-dir", str(folder), "--runtime-env-json", environment, "--"),
        *("apet", "run", "hand.yaml", "--store", store.uri, "--address", "auto"),
    )
    assert "2 completed" in said
    assert states(store) == ["completed", "completed"]
