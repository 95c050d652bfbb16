"""How many trials a pack should hold on this device, measured by the worker before its first pack of a kind.

Stand-ins of the pack's own trials take a few steps on its own data, one of them, two, four and so on together, until a
larger pack no longer gains, memory says no, or time is up. They share nothing with the trials that come after:
modules, engine and moments are of their own and go away, and no random number is drawn.

On a CPU with one thread the clock is that thread's CPU time: a busy machine takes turns away from it, and hardly
changes what a turn does; what neighbours take of caches and memory does count, as it will while packs run. Where the
thread has less than half of a core, too much else runs, and nothing is learnt: with load 17 on two cores, a gain of a
tenth looked like none. Elsewhere it is a clock on the wall, for the work isn't the thread's own. Both are written down.

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
REPEATS = 3  # steps of every size, of which the fastest counts
OWN_SHARE = 0.5  # of a core that a thread must have had: on a machine more crowded than that nothing is measured
_log = logging.getLogger(__name__)


class Calibrator:
    """What one worker knows of pack sizes.

    Args:
        store: where measurements are read from and written to, beside this machine's cache.
    """

    def __init__(self, store: Store) -> None:
        self._calibrations = store.calibrations()
        self._known: dict[Conditions, Calibration | None] = {}
        self._tried: set[Conditions] = set()  # measured or not, it isn't tried again
        self._told: set[tuple[Conditions, Setup]] = set()

    def learn(
        self,
        pack: Pack,
        backbone: Backbone,
        data: PackData,
        make_engine: MakeEngine,
        should_stop: Callable[[], bool],
        make_room: Callable[[], object] = lambda: None,
    ) -> int | None:
        """The best size of packs like this one, where that is news: known from elsewhere, or measured now.

        Args:
            pack: that is about to train.
            backbone: its own.
            data: its rows.
            make_engine: as for the pack.
            should_stop: asked between steps.
            make_room: lets go of what could be in the way: memory that runs out is to be the packs' own.

        Returns:
            at most what the planner has kept memory for, and once for packs of one set-up, so that what memory has
            taught since isn't contradicted; None: nothing new.
        """
        setup, device = pack.setup, backbone.device.type
        if setup.measure_to <= 1 or setup.ranks > 1 or backbone.sharded:
            return None
        trial = pack.members[0].trial
        precision = precision_of(trial.training.precision, device)
        conditions = Conditions.of(trial, replace(setup, device=device), precision, _processor(device))
        how = conditions, replace(setup, pack_size=0)
        if how in self._told:
            return None
        if conditions not in self._known:
            found = self._calibrations.find(conditions)
            self._known[conditions] = found and found.calibration
        if self._known[conditions] is None and conditions not in self._tried and pays(_to_come(pack, data), setup):
            self._tried.add(conditions)
            make_room()
            if steps := _measured(pack, backbone, data, make_engine, should_stop):
                self._keep(conditions, steps, clock_of(setup, device))
        known = self._known[conditions]
        if known is None:
            return None
        self._told.add(how)
        best = min(known.best, setup.measure_to)
        return best if best != setup.pack_size else None

    def _keep(self, conditions: Conditions, steps: dict[int, Step], clock: str) -> None:
        """What was measured, for this worker and for others."""
        cpu_s, wall_s = ({n: getattr(step, name) for n, step in steps.items()} for name in ("cpu_s", "wall_s"))
        self._known[conditions] = calibration = Calibration(conditions, cpu_s, wall_s, clock)
        self._calibrations.keep(calibration)


def told(size: int | None, run: Iterator[Progress]) -> Iterator[Progress]:
    """What a pack tells as it runs; with its first word the size that was learnt, unless memory has said another."""
    for progress in run:
        yield progress if size is None else replace(progress, pack_size=progress.pack_size or size)
        size = None


def sizes(most: int) -> list[int]:
    """1, 2, 4, … and ``most``."""
    return [*(2**n for n in range(most.bit_length()) if 2**n < most), most]


def pays(to_come: float, setup: Setup) -> bool:
    """Whether so many steps of one trial are enough to measure packs up to the planned size."""
    return 2 + REPEATS * sum(sizes(setup.pack_size)) <= SHARE * to_come


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

    Sizes up to the planned one take turns, so that a machine that grows busy slows all of them; larger ones follow one
    by one, as long as each gains.

    Args:
        step: takes a step of a pack of so many trials.
        planned: the size that the planner took; fewer tell nothing.
        most: as many as may be.
        to_come: steps of one trial that the pack at hand will take.
        clock: cpu or wall: which one is to be trusted.
        spent_s: of the time that this may take, what is gone already.
        should_stop: asked before every step.

    Returns:
        nothing where time isn't enough, the work is to stop, or other programs had most of this thread's time.
    """
    bench = _Bench(step, spent_s, most)
    bench.take(1)
    bench.take(1)  # the first one allocates
    if 1 not in bench.found:
        return {}
    allowed_s = min(SHARE * to_come * bench.found[1].wall_s, LONGEST_S)
    first, beyond = ([n for n in sizes(most) if (n <= planned) is low] for low in (True, False))
    if bench.spent_s + bench.cost_s(sum(first)) > allowed_s:
        return {}
    for size in first * REPEATS:
        if should_stop():
            return {}
        bench.take(size)
    for size in beyond:
        if size > bench.most or bench.spent_s + bench.cost_s(size) > allowed_s:
            break
        before = bench.best_s(clock)
        for _ in range(REPEATS):
            if should_stop():
                return {}
            bench.take(size)
        if bench.best_s(clock) > (1 - GAIN) * before:
            break
    crowded = clock == "cpu" and bench.found[1].cpu_s < OWN_SHARE * bench.found[1].wall_s
    return {} if crowded else bench.found


class _Bench:
    """Steps taken, and of each size the fastest."""

    def __init__(self, step: Callable[[int], Step], spent_s: float, most: int) -> None:
        self._step, self.spent_s, self.most = step, spent_s, most
        self.found: dict[int, Step] = {}

    def take(self, size: int) -> None:
        """A step of so many trials; where memory runs out, there are none of this size."""
        if size > self.most:
            return
        try:
            with memory_named():
                one = self._step(size)
        except OutOfMemoryError:
            self.most = size - 1
            self.found.pop(size, None)
            return
        self.spent_s += one.wall_s
        share = Step(one.cpu_s / size, one.wall_s / size)
        before = self.found.get(size, share)
        self.found[size] = Step(min(before.cpu_s, share.cpu_s), min(before.wall_s, share.wall_s))

    def cost_s(self, trials: int) -> float:
        """What steps of packs of so many trials will take at most, all of them repeated."""
        return REPEATS * trials * self.found[1].wall_s

    def best_s(self, clock: str) -> float:
        """Of all sizes the fewest seconds of a trial."""
        return min(one.cpu_s if clock == "cpu" else one.wall_s for one in self.found.values())


def _measured(
    pack: Pack, backbone: Backbone, data: PackData, make_engine: MakeEngine, should_stop: Callable[[], bool]
) -> dict[int, Step]:
    """See :func:`measure`. What goes wrong here only says so: what matters goes wrong in the pack too."""
    setup, device = pack.setup, backbone.device.type
    began = time.perf_counter()
    try:
        with stand_ins(pack, backbone, data, make_engine) as step:
            return measure(
                step,
                setup.pack_size,
                setup.measure_to,
                _to_come(pack, data),
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
