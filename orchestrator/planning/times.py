"""How long trials take: measured on rows of a store where it has the like, or by a worker beforehand, else arithmetic.

Rows are alike that agree in backbone, tasks with their rows, batch size, precision, device, soft tokens and in whether
all of the backbone trains. Of them count the seconds of a step and of an evaluation, so that steps and evaluations
may differ; of several pack sizes those of the nearest. Another machine's rows count too: a store doesn't know how fast
this one is. Where there is no such row, the seconds of a step that a worker measured to choose the size of its packs
(``trials.store.calibration``) come before arithmetic; where rows are of other pack sizes, they give the ratio.
"""

from __future__ import annotations

import json
import math
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cache
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.planning import traffic
from orchestrator.planning.speeds import NETWORK, PCIE, Speed, speed
from orchestrator.planning.work import UNKNOWN_ROWS, batches, flops
from trials.modules.depth import blocks_of
from trials.store.calibration import nearest
from trials.sweep.acting import evaluations

if TYPE_CHECKING:
    from trials.setup import Setup
    from trials.store.calibration import Calibration
    from trials.store.store import Store
    from trials.trial import Trial

CPU_SHARE = 0.65  # of the rate of matrix products, reached by a run of small models from its start to its end
GLOO = 1e9  # bytes a second that a rank on a CPU takes in from others of its machine, by memory and sockets
BLOCK_S = 4e-3  # a step of one block, however small, on one core: 3 ms of CPU time measured, 6 on a busy machine
START_S = 10.0  # a run's first worker starts, and loads a small backbone
HOW = ("ranks", "zero_stage", "offload", "recompute")
COLUMNS = ("spec", "state", "device", "devices", *HOW, "pack_size", "validation_rows", "test_rows")
TIMES = ("steps_done", "train_s", "eval_s")


class Pace(NamedTuple):
    """Seconds of one trial, its share of a pack: a step, an evaluation on validation, the test at its end."""

    step_s: float
    evaluation_s: float
    end_s: float


Paces = Mapping[Hashable, Mapping[int, Pace]]
"""By what rows agree in, and of those by the size of their packs."""


def measured(store: Store | None) -> Paces:
    """The pace of a store's completed rows: the median of those that are alike, and of packs of one size."""
    if store is None:
        return {}
    seen: dict[Hashable, dict[int, list[Pace]]] = defaultdict(lambda: defaultdict(list))
    for row in store.trials().select([*COLUMNS, *TIMES]).to_pylist():
        if row["state"] == "completed" and row["device"] and all(row[name] is not None for name in TIMES):
            spec = json.loads(row["spec"])
            if row["steps_done"]:
                gpus = 0 if row["device"] == "cpu" else row["devices"] or 1
                seen[_key(spec, gpus, [row["ranks"] or gpus or 1, *(row[name] or 0 for name in HOW[1:])])][
                    row["pack_size"] or 1
                ].append(_pace(row, spec))
    return {
        key: {size: Pace(*map(median, zip(*paces, strict=True))) for size, paces in sizes.items()}
        for key, sizes in seen.items()
    }


def work(
    trials: Sequence[Trial], setup: Setup, known: Paces, calibration: Calibration | None = None, card: str = ""
) -> tuple[float, str]:
    """Seconds of one worker for these trials, one pack after the other, and what the number rests on.

    Args:
        trials: of one backbone.
        setup: of their packs; arithmetic takes the ranks of a pack to share the work evenly.
        known: from :func:`measured`.
        calibration: of packs like these; None: there is none.
        card: kind of GPU, empty where it isn't known.
    """
    if not trials:
        return 0.0, "nothing to do"
    seconds, timed = 0.0, 0
    rate, link, basis = _rates(setup, speed(card))
    if calibration is not None:
        basis = f"a step as measured by a worker in packs of {nearest(calibration.seconds, setup.pack_size)}"
    for group in _alike(trials):
        paces = known.get(_key(json.loads(group[0].spec), setup.gpus, [getattr(setup, name) for name in HOW]), {})
        timed += len(group) if paces else 0
        if paces:
            size = nearest(paces, setup.pack_size)
            ratio = calibration.at(setup.pack_size) / calibration.at(size) if calibration is not None else 1.0
            each = ratio * _at_pace(group[0], paces[size])
        elif calibration is not None:
            each = _by_steps(group[0], calibration.at(setup.pack_size))
        else:
            each = _by_arithmetic(group[0], setup, rate) + traffic.seconds(group[0], setup, link)
        seconds += len(group) * each
    if timed:
        rows = "rows of the store"
        basis = f"measured on {rows}" if timed == len(trials) else f"{basis}; {rows} for {timed} trials"
    return seconds, basis


def _rates(setup: Setup, card: Speed) -> tuple[float, float, str]:
    """Operations a second of one worker, bytes a second that each of its ranks takes in, and the words for them."""
    link = min(card.link if setup.gpus else GLOO, NETWORK if setup.machines > 1 else math.inf)
    if setup.gpus:
        said = f"arithmetic, a GPU taken at {card.flops:.1e} operations/s"
        gathered = f", weights gathered at {link:.1e} bytes/s" if setup.gpus > 1 else ""
        offload = f", offloaded ones at {PCIE:.1e}" if setup.offload else ""
        return setup.gpus * card.flops, link, said + gathered + offload
    rate = core_flops() * CPU_SHARE
    said = f"arithmetic, {CPU_SHARE:.0%} of a core of this CPU in matrix products, if idle: {rate:.1e} operations/s"
    return setup.ranks * rate, link, said + (f", ranks exchange {link:.0e} bytes/s" if setup.ranks > 1 else "")


@cache
def core_flops() -> float:
    """Operations a second of one core of this machine's CPU in matrix products of float32.

    The products are so small that libraries take one thread for them, and are timed by what the thread itself ran:
    a few milliseconds, and the same on a busy machine as on a quiet one.
    """
    import numpy as np

    n, products = 64, 64
    a, b = np.ones((products, n, n), dtype=np.float32), np.ones((n, n), dtype=np.float32)
    out = a @ b  # pages are touched
    best = min(_timed(lambda: np.matmul(a, b, out=out)) for _ in range(20))
    return 2.0 * n**3 * products / best


def _timed(work: Callable[[], object]) -> float:
    start = time.thread_time()
    work()
    return time.thread_time() - start


def _key(spec: Mapping[str, Any], gpus: int, how: Sequence[int]) -> Hashable:
    """What trials agree in whose steps and evaluations take the same time."""
    method, training = spec["method"], spec["training"]
    full = method["name"] == "full"
    scored = ((t["name"], t["data"]["version"], t["validation_rows"], t["test_rows"]) for t in _tasks(spec))
    size = training["batch_size"], training["precision"]
    return spec["backbone"]["name"], *scored, *size, full, method["tokens"], gpus, *how


def _tasks(spec: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [spec["task"], *spec["evaluate_on"]]


def _pace(row: Mapping[str, Any], spec: Mapping[str, Any]) -> Pace:
    """The pace of a row: its evaluation time by the rows scored, on validation each time and on tests once."""
    validation = row["validation_rows"] or UNKNOWN_ROWS
    tests = row["test_rows"] or UNKNOWN_ROWS
    tests += sum(target["test_rows"] or UNKNOWN_ROWS for target in spec["evaluate_on"])
    times = evaluations(row["steps_done"], spec["training"]["eval_every"])
    row_s = row["eval_s"] / (times * validation + tests)
    return Pace(row["train_s"] / row["steps_done"], row_s * validation, row_s * tests)


def _at_pace(trial: Trial, pace: Pace) -> float:
    steps, times = trial.training.steps, evaluations(trial.training.steps, trial.training.eval_every)
    return steps * pace.step_s + times * pace.evaluation_s + pace.end_s


def _by_arithmetic(trial: Trial, setup: Setup, rate: float) -> float:
    together = setup.pack_size if setup.gpus else 1  # a GPU is called once for all trials of a pack
    return max(flops(trial, setup.recompute) / rate, least_s(trial) / together)


def least_s(trial: Trial) -> float:
    """Seconds of a trial, however small its layers: a step, and half of one for every batch that is scored."""
    return _by_steps(trial, blocks_of(trial.backbone.shape) * BLOCK_S)


def _by_steps(trial: Trial, step_s: float) -> float:
    """Seconds of a trial whose steps take so many, and half of one for every batch that is scored."""
    trained, scored = batches(trial)
    return step_s * (trained + scored / 2)


def _alike(trials: Sequence[Trial]) -> list[list[Trial]]:
    """Trials grouped so that those of a group cost the same."""
    groups: dict[object, list[Trial]] = defaultdict(list)
    for trial in trials:
        method = trial.method.name == "full", trial.method.tokens
        groups[trial.backbone.name, trial.task, trial.training, trial.evaluate_on, method].append(trial)
    return list(groups.values())
