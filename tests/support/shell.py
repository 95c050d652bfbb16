"""The command line as a test drives it, small sweeps and a small store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from orchestrator.cli import app
from trials.store.record import record
from trials.store.store import Store
from trials.sweep.sweep import Sweep
from trials.trial import Trial

SMALL = """\
# A small sweep for tests.
name: small
backbones: [tiny-bert, tiny-t5]
tasks: [rte]
methods:
  - full
  - {method: lora, rank: 2}
  - {method: apet, counts: [10, 100], position_seeds: 2}
learning_rates: [1.0e-3]
training: {steps: 4, batch_size: 2, eval_every: 2}
"""
PER_BACKBONE = 2 + 2 * 2  # full, lora, two counts at two positions


def apet(*words: object, env: dict[str, str | None] | None = None) -> Result:
    """Run a command line; every exception but SystemExit is the test's failure."""
    result = CliRunner().invoke(
        app, [str(word) for word in words], prog_name="apet", env={"APET_STORE": None, **(env or {})}
    )
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def refused(*words: object, says: list[str], env: dict[str, str | None] | None = None) -> str:
    """A command line that must be refused: exit 2, nothing on stdout, a message with every one of ``says``."""
    result = apet(*words, env=env)
    assert result.exit_code == 2, (result.exit_code, result.output)
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    for part in says:
        assert part in result.stderr, f"{part!r} is not in: {result.stderr}"
    return result.stderr


def small(folder: Path, text: str = SMALL) -> Path:
    """A sweep file."""
    path = folder / "small.yaml"
    path.write_text(text)
    return path


def row(trial: Trial, state: str = "completed", **columns: Any) -> dict[str, Any]:
    """An attempt as a worker would write it."""
    times = {"load_s": 1.0, "train_s": 8.0, "eval_s": 2.0, "wall_s": 11.0}
    scores = {"metric": "accuracy", "test_score": 0.625, "validation_score": 0.5, "chance": 0.5, "majority": 0.53}
    found = {"weights_source": "random:tiny-bert", "data_source": "hub:nyu-mll/glue@x", "sweep": "small"}
    done = {} if state == "failed" else {**scores, "steps_done": trial.training.steps, "best_step": 2}
    return record(trial, **{"state": state, **done, **times, **found, **columns})


def stored(folder: Path, text: str = SMALL) -> tuple[Store, tuple[Trial, ...]]:
    """A store with the first trial completed, the second failed (with a log), the third diverged, and all trials."""
    trials = Sweep.parse(text).trials()
    store = Store(folder / "store", create=True)
    store.append(row(trials[0]))
    failed = row(trials[1], "failed", error_class="ValueError", error_message="no such luck")
    failed["log_uri"] = store.save_log(failed["attempt_id"], "\n".join(f"line {i}" for i in range(40)))
    store.append(failed)
    store.append(row(trials[2], "diverged", diverged_at=3))
    return store, trials
