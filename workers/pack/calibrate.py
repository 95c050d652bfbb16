"""How many trials a pack should hold on this device, measured by the worker before its first pack of a kind.

Stand-ins of the pack's own trials take a few steps on its own data, one of them, then two, four and so on together,
until a larger pack no longer gains, memory says no, or time is up. They share nothing with the trials that come after:
modules, engine and moments are of their own and go away, and no random number is drawn.

On a CPU with one thread the clock is that thread's CPU time: a busy machine takes turns away from it, and hardly
changes what a turn does; what neighbours take of caches and memory does count, as it will while packs run. Elsewhere it
is a clock on the wall, for the work isn't the thread's own. Both are written down.

It costs at most :data:`SHARE` of the steps to come in the pack at hand, and :data:`LONGEST_S`; where that isn't enough
to get as far as the planned size, nothing is measured, and what was planned stays.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

from trials.pack import Pack
from trials.processor import processor
from trials.setup import Setup
from trials.store.calibration import GAIN, Calibration, Conditions
from trials.store.store import Store
from trials.sweep.acting import evaluations
from workers import allocator
from workers.backbone.load import Backbone
from workers.environment import precision_of, reset_peak_memory
from workers.pack.memory import OutOfMemoryError, memory_named
from workers.pack.progress import Progress
from workers.pack.stand_ins import MakeEngine, Step, stand_ins
from workers.rows.warm import PackData

SHARE = 0.02  # of the steps to come
LONGEST_S = 10.0
REPEATS = 3  # steps of every size, of which the fastest counts: the first ones allocate
_log = logging.getLogger(__name__)


class Calibrator:
    """What one worker knows of pack sizes.

    Args:
        store: where measurements are read from and written to, beside this machine's cache.
    """

    def __init__(self, store: Store) -> None:
        self._known = store.calibrations()
        self._told: set[Conditions] = set()

    def learn(
        self, pack: Pack, backbone: Backbone, data: PackData, make_engine: MakeEngine, should_stop: Callable[[], bool]
    ) -> int | None:
        """The best size of packs like this one, where that is news: known from elsewhere, or measured now.

        Args:
            pack: that is about to train.
            backbone: its own.
            data: its rows.
            make_engine: as for the pack.
            should_stop: asked between steps.

        Returns:
            at most what the planner has kept memory for; None: what was planned stays.
        """
        setup, device = pack.setup, backbone.device.type
        if setup.measure_to <= 1:
            return None
        trial = pack.members[0].trial
        precision = precision_of(trial.training.precision, device)
        conditions = Conditions.of(trial, replace(setup, device=device), precision, _processor(device))
        if conditions in self._told:
            return None
        found = self._known.find(conditions)
        if found is not None:
            calibration = found.calibration
        else:
            steps = _measured(pack, backbone, data, make_engine, should_stop)
            if not steps:
                return None
            cpu_s, wall_s = ({n: getattr(x, name) for n, x in steps.items()} for name in ("cpu_s", "wall_s"))
            calibration = Calibration(conditions, cpu_s, wall_s, clock_of(setup, device))
            self._known.keep(calibration)
        self._told.add(conditions)
        best = min(calibration.best, setup.measure_to)
        _log.info("%s: packs of %d are the fastest here", trial.backbone.name, best)
        return best if best != setup.pack_size else None


def told(size: int | None, run: Iterator[Progress]) -> Iterator[Progress]:
    """What a pack tells as it runs; with its first word the size that was learnt, unless memory has said another."""
    for progress in run:
        yield progress if size is None else replace(progress, pack_size=progress.pack_size or size)
        size = None


def sizes(most: int) -> list[int]:
    """1, 2, 4, … and ``most``."""
    return [*(2**n for n in range(most.bit_length()) if 2**n < most), most]


def pays(to_come: float, planned: int) -> bool:
    """Whether so many steps of one trial are enough to measure packs up to the planned size."""
    return REPEATS * sum(sizes(planned)) <= SHARE * to_come


def clock_of(setup: Setup, device: str) -> str:
    """The clock to be trusted: cpu where one thread does the work, else wall."""
    return "cpu" if device == "cpu" and setup.threads == 1 else "wall"


def measure(
    step: Callable[[int], Step],
    planned: int,
    most: int,
    to_come: float,
    *,
    clock: str = "cpu",
    spent_s: float = 0.0,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[int, Step]:
    """Seconds of one trial's step, its share of its pack's, by the size of the pack.

    Args:
        step: takes a step of a pack of so many trials.
        planned: the size that the planner took; fewer tell nothing.
        most: as many as may be.
        to_come: steps of one trial that the pack at hand will take.
        clock: cpu or wall, by which a larger pack gains or doesn't.
        spent_s: of the time that this may take, what is gone already.
        should_stop: asked before every step.

    Returns:
        nothing where time isn't enough, or the work is to stop.
    """
    found: dict[int, Step] = {}
    for size in sizes(most):
        if found:  # the first time all the way to the planned size, later every size
            last = min(found.values(), key=lambda one: one.wall_s).wall_s
            ahead = [n for n in sizes(most) if size <= n <= max(size, planned)] if size == 2 or size > planned else []
            allowed_s = min(SHARE * to_come * found[1].wall_s, LONGEST_S)
            if spent_s + REPEATS * sum(ahead) * last > allowed_s:
                return found if max(found) >= planned else {}
        try:
            with memory_named():
                taken = []
                for _ in range(REPEATS):
                    if should_stop():
                        return {}
                    taken.append(step(size))
        except OutOfMemoryError:
            break
        spent_s += sum(one.wall_s for one in taken)
        found[size] = Step(*(min(getattr(one, name) for one in taken) / size for name in ("cpu_s", "wall_s")))
        seconds = [getattr(one, f"{clock}_s") for one in found.values()]
        if len(seconds) > 1 and seconds[-1] > (1 - GAIN) * seconds[-2]:
            break
    return found


def _measured(
    pack: Pack, backbone: Backbone, data: PackData, make_engine: MakeEngine, should_stop: Callable[[], bool]
) -> dict[int, Step]:
    """See :func:`measure`; nothing where it doesn't pay. What goes wrong here and matters goes wrong in a pack too."""
    setup, device = pack.setup, backbone.device.type
    to_come = _to_come(pack, data)
    if not pays(to_come, setup.pack_size):
        return {}
    began = time.perf_counter()
    try:
        with stand_ins(pack, backbone, data, make_engine) as step:
            return measure(
                step,
                setup.pack_size,
                setup.measure_to,
                to_come,
                clock=clock_of(setup, device),
                spent_s=time.perf_counter() - began,
                should_stop=should_stop,
            )
    except Exception as error:
        _log.warning("the best pack size can't be measured: %s: %s", type(error).__name__, error)
        return {}
    finally:
        allocator.give_back()
        if device == "cuda":
            torch.cuda.empty_cache()
        reset_peak_memory(device)  # rows say what their pack took


def _to_come(pack: Pack, data: PackData) -> float:
    """Steps of one trial that a pack will take, a batch that is scored taken as half of one."""
    training = pack.members[0].trial.training
    scored = evaluations(training.steps, training.eval_every) * len(data.validation)
    scored += sum(map(len, (data.test, *data.targets.values())))
    return len(pack.members) * (training.steps + scored / training.batch_size / 2)


def _processor(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else processor()
