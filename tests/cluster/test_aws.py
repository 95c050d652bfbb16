"""The project's cluster.yaml on AWS as moto plays it, with test hosts as machines: from zero and back, and a spot
machine taken back in the middle of a pack.

Only what :func:`aws_cloud.overlay` says is otherwise than in a user's file. `pytest -s` prints it, and all that a user
types and reads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import moto_server
import pytest
from aws_cloud import Cloud, cloud
from aws_file import BUCKET
from hosts import missing
from saved import Saved

from trials import backbones
from trials.modules import methods
from trials.store.store import Store

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(missing() is not None, reason=missing() or ""),
]
STORE = f"s3://{BUCKET}/study"
APET = "apet"
SMALL, LARGE = "small-l4", "large-l40s"  # the cheapest that hold the two blocks below
STEPS, CHECKPOINT_S = 2000, 2
MOST = 3  # workers at a time
SWEEP = f"""\
name: tiny
tasks: [{{name: rotten_tomatoes, train_rows: 200, validation_rows: 24, test_rows: 24}}]
learning_rates: [1.0e-3]
resources: {{gpus: 1, pack_size: 2, micro_batch: 16384, checkpoint_s: {CHECKPOINT_S}}}
blocks:
  - backbones: [tiny-bert]
    methods: [{{method: apet, counts: [16, 64], position_seeds: 2}}]
    training: {{steps: {STEPS}, batch_size: 8, eval_every: {STEPS}}}
  - backbones: [tiny-bloom]
    methods: [{{method: apet, counts: [16]}}]
    training: {{steps: 2, batch_size: 16384}}  # more than 24 GB, were there so many rows
"""
ROWS = "select trial_id, backbone, node_type, host, attempt, steps_done, state from trials"
BEGUN = 200  # steps, after which a pack is in its middle


@pytest.fixture(scope="module")
def aws() -> Iterator[Cloud]:
    with cloud(6, {"max_workers": MOST, "idle_timeout_minutes": 0.5}) as made, pytest.MonkeyPatch.context() as patch:
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


def in_the_middle(store: Store) -> tuple[str, str] | None:
    """A trial that runs on a small machine and has a checkpoint of some steps: its id and host."""
    for trial, beat in store.running().items():
        saved = Saved.of(store, trial) if beat["backbone"] == "tiny-bert" else None
        if saved and saved.step > BEGUN:
            return trial, beat["worker_id"].partition("-")[0]
    return None


def one_is_taken_back(aws: Cloud, store: Store, ended: Callable[[], bool]) -> dict[str, str]:
    """EC2 takes the machine of a pack back in its middle, and another one goes on; all machines and their types."""
    trial, lost = until(lambda: in_the_middle(store), 400, "no machine came, or no checkpoint")
    up = aws.machines()
    assert all(one["InstanceLifecycle"] == "spot" for host, one in up.items() if host != "m0")
    aws.take_back(lost)
    when, left = time.time(), Saved.of(store, trial)
    assert left, f"no whole checkpoint of {trial}"
    print(f"--- EC2 has taken {lost} ({up[lost]['type']}) back, with {trial} in hand")
    left.repeated(when, CHECKPOINT_S)
    print(f"--- {left.beside(backbones.get('tiny-bert'))}; {of_lora_on_t5_xxl()}")
    machines, steps = dict(up), [left.step]

    def over() -> bool:
        machines.update(aws.machines())
        if (now := Saved.of(store, trial)) and now.step != steps[-1]:
            steps.append(now.step)
        return ended()

    until(over, 600, "the sweep doesn't end")
    types = {host: str(one["type"]) for host, one in sorted(machines.items())}
    print(f"--- machines: {types}; steps of the checkpoints of {trial}: {steps}")
    assert steps == sorted(steps), "it began anew"
    assert len(types) > 1 + MOST, "nobody took the lost machine's place"
    assert next(row["host"] for row in store.trials().to_pylist() if row["trial_id"] == trial) != lost
    return types


def of_lora_on_t5_xxl() -> str:
    """The same by arithmetic: a checkpoint has values, those of the best step and two moments, in 4 bytes each."""
    ref = backbones.get("t5-xxl")
    count, parameters = methods.count_of(methods.named("lora"), ref), backbones.parameters(ref)
    assert count
    mine, whole = 4 * 4 * count, 2 * parameters
    return (
        f"of LoRA on T5-XXL {count:,} scalars x 16 bytes = {mine / 1e6:.0f} MB, "
        f"of the backbone {parameters:,} x 2 = {whole / 1e9:.1f} GB ({100 * mine / whole:.1f} %)"
    )


def type_in(aws: Cloud, command: str) -> None:
    """A command as a newcomer types it where the two files are, and what it says: the transcript."""
    start = time.monotonic()
    here = command.replace(" --yes", " --yes --log-style=pretty --log-color=false")  # as Ray does it in a terminal
    for name in ("cluster.yaml", "tiny.yaml", "tiny-report"):
        here = here.replace(f" {name}", f" {aws.hosts.folder}/{name}")
    done = aws.here(f"{here} 2>&1", timeout=900, check=False)
    said = done.stdout.replace(f"{aws.hosts.folder}/", "")
    print(f"$ {command}\n{said}[exit {done.returncode} after {time.monotonic() - start:.0f} s]\n")
    assert done.returncode == 0


def test_from_zero_through_a_lost_spot_machine_to_zero(aws: Cloud) -> None:
    type_in(aws, "ray get-auth-token --generate")
    type_in(aws, "ray up --yes cluster.yaml")
    assert {host: one["type"] for host, one in aws.machines().items()} == {"m0": "head"}
    assert "apet 0" in aws.hosts.run("m0", "~/apet/bin/apet --version").stdout, "no wheel was made"

    with ThreadPoolExecutor(1) as terminal:
        submitted = terminal.submit(type_in, aws, f"apet submit tiny.yaml --cluster cluster.yaml --store {STORE}")
        types = one_is_taken_back(aws, store := Store(STORE), submitted.done)
        submitted.result()
    type_in(aws, f"apet status --store {STORE}")
    type_in(aws, f"apet query '{ROWS}' --store {STORE}")
    rows = store.trials().to_pylist()
    assert {(row["backbone"], row["node_type"]) for row in rows} == {("tiny-bert", SMALL), ("tiny-bloom", LARGE)}
    assert sorted(row["steps_done"] for row in rows) == [2, *[STEPS] * 4]
    assert {(row["state"], row["attempt"]) for row in rows} == {("completed", 0)}
    assert all(row["node_type"] == types[row["host"]] for row in rows), "what EC2 says of it"

    until(lambda: set(aws.machines()) == {"m0"}, 400, "idle machines stay")
    type_in(aws, f"apet report --store {STORE} --out tiny-report")
    type_in(aws, "ray down --yes cluster.yaml")
    assert aws.machines() == {}
