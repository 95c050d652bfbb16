"""How long trials take: measured on rows of a store where it has the same backbone and task, else by arithmetic."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trials.store import Store
    from trials.trial import Trial

CPU_SHARE = 0.65  # of the rate of matrix products, reached by a run of small models from its start to its end
Key = tuple[str, str, bool]  # backbone, task, whether all of the backbone trains


def measured(store: Store | None) -> dict[Key, float]:
    """Seconds of training and evaluation per step, the median of a store's rows."""
    if store is None:
        return {}
    columns = ["backbone", "task", "method", "steps_done", "train_s", "eval_s"]
    seen: dict[Key, list[float]] = defaultdict(list)
    for row in store.trials().select(columns).to_pylist():
        if row["steps_done"] and row["train_s"] is not None:
            spent = (row["train_s"] + (row["eval_s"] or 0.0)) / row["steps_done"]
            seen[row["backbone"], row["task"], row["method"] == "full"].append(spent)
    return {key: median(values) for key, values in seen.items()}


def total(trials: Sequence[Trial], gpus: int, known: Mapping[Key, float]) -> tuple[float, str]:
    """Seconds of one worker for these trials, one after the other, and what the number rests on.

    Args:
        trials: of one backbone.
        gpus: cards of the worker, 0 on the CPU; arithmetic takes them to share the work evenly.
        known: seconds per step, from :func:`measured`.
    """
    timed = [t for t in trials if _key(t) in known]
    seconds = sum(known[_key(t)] * t.training.steps for t in timed)
    if len(timed) == len(trials):
        return seconds, "measured on rows of the store" if trials else "nothing to do"
    rate, basis = _rate(gpus)
    seconds += _operations([t for t in trials if _key(t) not in known]) / rate
    return seconds, f"{basis}; rows of the store for {len(timed)} trials" if timed else basis


def _rate(gpus: int) -> tuple[float, str]:
    """Operations a second, and the words for it."""
    from orchestrator.estimate import CARD_FLOPS, cores, measured_flops

    if gpus:
        return gpus * CARD_FLOPS, f"arithmetic, a GPU taken at {CARD_FLOPS:.0e} operations/s"
    rate = measured_flops() * CPU_SHARE
    on = f"{cores()} cores" if cores() > 1 else "one core"
    basis = f"arithmetic, {CPU_SHARE:.0%} of {on} of this CPU in matrix products, if idle: {rate:.1e} operations/s"
    return rate, basis


def _key(trial: Trial) -> Key:
    return trial.backbone.name, trial.task.name, trial.method.name == "full"


def _operations(trials: Sequence[Trial]) -> float:
    """Floating-point operations of all, computed once for those that cost the same."""
    from orchestrator.estimate import flops
    from trials.backbones import parameters

    alike: dict[object, list[Trial]] = defaultdict(list)
    for trial in trials:
        method = trial.method.name == "full", trial.method.tokens
        alike[trial.backbone.name, trial.task, trial.training, trial.evaluate_on, method].append(trial)
    return sum(len(group) * flops(group[0], parameters(group[0].backbone)) for group in alike.values())
