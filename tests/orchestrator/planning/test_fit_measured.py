"""The memory of a set-up against a worker that runs with it, on this machine's CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

from orchestrator.planning.devices import Machine
from orchestrator.planning.setups import Setups
from trials.pack import Member, Pack
from trials.store.store import Store
from trials.sweep.sweep import Sweep

CORES = Machine(2, 10**12)


@pytest.mark.parametrize(
    ("method", "batch_size", "resources"),
    [
        ("full", 16, {}),
        ("lora", 192, {}),
        ("lora", 48, {"pack_size": 4}),
        ("lora", 192, {"recompute": True}),
        pytest.param("lora", 384, {"ranks": 2}, marks=pytest.mark.slow),
        pytest.param("lora", 384, {"ranks": 2, "zero_stage": 3}, marks=pytest.mark.slow),
        pytest.param("full", 32, {"ranks": 2, "zero_stage": 2}, marks=pytest.mark.slow),
        pytest.param("full", 32, {"ranks": 2, "zero_stage": 3}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_worker_takes_no_more_than_its_set_up_says(
    method: str, batch_size: int, resources: dict[str, int], tmp_path: Path
) -> None:
    """Rows as long as they may be, so that the passes are the largest that the plan thinks of."""
    wanted = json.dumps({"gpus": 0, "pack_size": 1, **resources})
    pack_size = resources.get("pack_size", 1)
    data = tmp_path / "data"
    data.mkdir()
    text = "a film " * 200
    for split, n in (("train", batch_size), ("validation", 4), ("test", 4)):
        rows = ({"text": text, "label": i % 2} for i in range(n))
        (data / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sweep = Sweep.parse(
        f"backbones: [tiny-t5]\ntasks: [{{name: rotten_tomatoes, data_dir: {data}}}]\nmethods: [{method}]\n"
        f"learning_rates: {[0.001 * (n + 1) for n in range(pack_size)]}\n"
        f"training: {{steps: 2, batch_size: {batch_size}}}\nresources: {wanted}\n"
    )
    one, *_ = trials = sweep.trials()
    setup = Setups(trials, [CORES], sweep.resources).setup(one)
    pack = tmp_path / "pack.json"
    pack.write_text(Pack("measured", tuple(map(Member, trials)), sweep.sources(one), "", setup).to_json())
    store = tmp_path / "store"
    subprocess.run(
        [sys.executable, "-m", "workers.run", pack, "--store", store],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
    )
    row, *others = Store(str(store)).trials().to_pylist()
    assert {r["state"] for r in (row, *others)} == {"completed"}
    assert row["pack_size"] == pack_size
    assert 0.5 * setup.memory < row["peak_memory_bytes"] <= setup.memory
