"""Bare Ray Tune on trials that do nothing, under ``reuse_actors``.

    python -m ways.tune_noop TRIALS CPUS

No loggers, and the experiment's state is not written while it runs. The last line is JSON: milliseconds a trial,
without the start; resident memory at the end and at its highest.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from typing import Any

import ray
from ray import tune

from ways.arithmetic import ms_each
from ways.processes import memory

os.environ.update(TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1", TUNE_GLOBAL_CHECKPOINT_S="1e9", RAY_AIR_NEW_OUTPUT="0")


class Nothing(tune.Trainable):
    """Ends at its first step."""

    def step(self) -> dict[str, Any]:
        """Nothing."""
        return {"done": True}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial."""
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing; Tune fails a trial that lacks this method."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing."""


class Ends(tune.Callback):
    """When trials ended, and which process had them."""

    def __init__(self) -> None:
        self.at: list[tuple[float, int]] = []

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """One has ended."""
        self.at.append((time.monotonic(), trial.last_result["pid"]))


def main() -> None:
    """Run so many trials."""
    n, cpus, ends = int(sys.argv[1]), int(sys.argv[2]), Ends()
    with tempfile.TemporaryDirectory() as folder:
        ray.init(
            address="local",
            num_cpus=cpus,
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=128 * 2**20,
        )
        tune.Tuner(
            tune.with_resources(Nothing, {"cpu": 1}),
            tune_config=tune.TuneConfig(num_samples=n, reuse_actors=True),
            run_config=tune.RunConfig(storage_path=folder, verbose=0, callbacks=[ends]),
        ).fit()
        found = memory()
        ray.shutdown()
    if len(ends.at) != n:
        sys.exit(f"{len(ends.at)} of {n} trials ended")
    print(json.dumps({"ms": ms_each(ends.at), **found}))


if __name__ == "__main__":
    main()
