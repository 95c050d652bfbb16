"""The project's cluster.yaml on AWS as moto plays it, with test hosts as machines: from zero and back, and a spot
machine taken back in the middle of a pack.

Only what :func:`aws_cloud.overlay` says is otherwise than in a user's file, and it is printed: `pytest -s`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import moto_server
import pytest
from aws_cloud import Cloud, cloud
from aws_file import BUCKET
from hosts import missing

from trials.store.store import Store
from workers.pack.checkpoint import Checkpoint

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(missing() is not None, reason=missing() or ""),
]
STORE = f"s3://{BUCKET}/study"
APET = "apet"
SMALL_TYPES = {"small-l4", "small-a10g"}
SWEEP = """\
name: tiny
backbones: [tiny-bert]
tasks: [{name: rotten_tomatoes, train_rows: 200, validation_rows: 24, test_rows: 24}]
methods: [{method: apet, counts: [16, 64], position_seeds: 2}]
learning_rates: [1.0e-3]
training: {steps: 2000, batch_size: 8, eval_every: 2000}
resources: {pack_size: 2, checkpoint_s: 2}
"""
BEGUN = 200  # steps, after which a pack is in its middle


@pytest.fixture(scope="module")
def aws() -> Iterator[Cloud]:
    with cloud(6, {"max_workers": 2, "idle_timeout_minutes": 0.5}) as made, pytest.MonkeyPatch.context() as patch:
        for name, value in moto_server.environment(made.url).items():
            patch.setenv(name, value)
        (made.hosts.folder / "tiny.yaml").write_text(SWEEP)
        yield made


def until(holds: Callable[[], Any], seconds: float, what: str) -> Any:
    """Wait, and give back what holds."""
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, what
        time.sleep(0.5)
    return found


def saved_step(store: Store, trial: str) -> int | None:
    """The step of a trial's checkpoint."""
    saved = store.load_checkpoint(trial)
    return None if saved is None else Checkpoint.from_bytes(saved).step


def in_the_middle(store: Store) -> tuple[str, str, int] | None:
    """A trial that runs and has a checkpoint of some steps: its id, host, step."""
    for trial, beat in store.running().items():
        if (step := saved_step(store, trial) or 0) > BEGUN:
            return trial, beat["worker_id"].partition("-")[0], step
    return None


def type_in(aws: Cloud, command: str, code: int = 0, timeout: float = 400.0) -> str:
    """A command as a newcomer types it, and what came of it, for the transcript."""
    start = time.monotonic()
    done = aws.here(command, timeout=timeout, check=False)
    print(f"$ {command}\n{done.stdout}{done.stderr}[exit {done.returncode} after {time.monotonic() - start:.0f} s]\n")
    assert done.returncode == code
    return done.stdout + done.stderr


def test_from_zero_through_a_lost_spot_machine_to_zero(aws: Cloud) -> None:
    type_in(aws, "ray get-auth-token --generate")
    type_in(aws, f"ray up --yes {aws.file} 2>&1 | tail -n 25")
    assert {host: one["type"] for host, one in aws.machines().items()} == {"m0": "head"}
    assert "apet 0" in aws.hosts.run("m0", "~/apet/bin/apet --version").stdout, "no wheel was made"

    type_in(aws, f"{APET} submit {aws.hosts.folder}/tiny.yaml --cluster {aws.file} --store {STORE} --detach")
    store = Store(STORE)
    trial, lost, step = until(lambda: in_the_middle(store), 400, "no machine came, or no checkpoint")
    up = aws.machines()
    assert {one["type"] for host, one in up.items() if host != "m0"} <= SMALL_TYPES, "tiny wants no large cards"
    assert all(one["InstanceLifecycle"] == "spot" for host, one in up.items() if host != "m0")
    print(f"--- EC2 takes {lost} ({up[lost]['type']}) back; it has {trial} at step {step}, by its checkpoint")
    aws.take_back(lost)
    seen, steps = set(up), [step]

    def ended() -> bool:
        seen.update(aws.machines())
        if (now := saved_step(store, trial)) is not None and now != steps[-1]:
            steps.append(now)
        return len(store.visible()) == 4

    until(ended, 600, "the sweep doesn't end")
    print(f"--- machines: {sorted(seen)}; steps of the checkpoints of {trial}: {steps}")
    assert steps == sorted(steps), "it began anew"
    assert seen - set(up), "nobody took the lost machine's place"
    type_in(aws, f"{APET} status --store {STORE}")
    rows = store.trials().to_pylist()
    print([(row["trial_id"][:6], row["host"], row["node_type"], row["attempt"], row["device"]) for row in rows])
    assert {row["state"] for row in rows} == {"completed"}
    assert {row["steps_done"] for row in rows} == {2000}
    assert {row["node_type"] for row in rows} <= SMALL_TYPES
    assert {row["attempt"] for row in rows} == {0}
    assert next(row["host"] for row in rows if row["trial_id"] == trial) != lost

    until(lambda: set(aws.machines()) == {"m0"}, 400, "idle machines stay")
    type_in(aws, f"{APET} report --store {STORE} --out {aws.hosts.folder}/report 2>&1 | tail -n 5")
    type_in(aws, f"ray down --yes {aws.file} 2>&1 | tail -n 5")
    assert aws.machines() == {}
