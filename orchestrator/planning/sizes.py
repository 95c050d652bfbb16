"""How many trials train together: the user's wish, or what is fastest there, as far as memory holds it.

Where a worker has measured it (``workers.pack.calibrate``), that decides. Until then: on a GPU as many as fill it; on a
CPU a few, for its products are large already: what a pack saves is the cost of calls, and what it needs more is memory
that caches don't hold. On two quiet cores, in packs of four: .90 of the time of four alone (BERT, 6 layers, width 384,
batches of 24), T5 .86, BLOOM .92 to .98, LoRA on BERT .96; two such workers at once, LoRA, CPU time with the
evaluations, on a busy machine: .92 in packs of four, .98 in packs of two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.planning.memory import number_bytes
from trials.store.calibration import CACHE, STORE, Calibration, Calibrations, Conditions, Found

if TYPE_CHECKING:
    from orchestrator.planning.devices import Machine
    from trials.setup import Setup
    from trials.trial import Trial

MOST = {"cpu": 8, "cuda": 64}  # trials of a pack that are planned for
USUAL = {"cpu": 4, "cuda": 64}  # of them where nobody has measured
ASKED, FULL, MODEL = "resources", "full", "model"  # sources, beside STORE and CACHE
_WORDS = {ASKED: "asked for", STORE: "measured, store", CACHE: "measured, cache", MODEL: "not measured"}


@dataclass(frozen=True)
class PackSize:
    """A decision.

    Args:
        size: trials of a pack at most.
        source: what it comes from: a wish in ``resources``, ``full`` (which is alone), a measurement in the ``store``
            or the ``cache``, the ``model`` of memory.
        measure_to: the largest that a worker may measure before its first pack; 0: none.
        measured: the measurement.
    """

    size: int
    source: str
    measure_to: int = 0
    measured: Calibration | None = None

    def __str__(self) -> str:
        return "alone" if self.source == FULL else f"packs of {self.size} ({said(self.source)})"


def said(source: str) -> str:
    """Where a size comes from, for people; empty for ``full``."""
    return _WORDS.get(source, "")


class Known:
    """Pack sizes that workers have measured on machines like those that are planned for.

    Args:
        calibrations: of a store, and of this machine's cache.
        machines: that packs may get to.
    """

    def __init__(self, calibrations: Calibrations, machines: Sequence[Machine]) -> None:
        self._calibrations = calibrations
        self._processors = tuple(dict.fromkeys(one.processor for one in machines))
        self._found: dict[Conditions, Found | None] = {}

    def find(self, trial: Trial, setup: Setup) -> Found | None:
        """What was measured of packs of such trials; of several processors, the one that wants the smallest packs.

        Where a processor's name isn't known, as of a cluster's nodes and of cards, any will do.
        """
        precision = "bf16" if number_bytes(trial.training.precision, setup.gpus > 0) == 2 else "fp32"
        names = ("",) if setup.gpus or "" in self._processors else self._processors
        found = [self._look(Conditions.of(trial, setup, precision, name)) for name in names]
        return min(filter(None, found), key=lambda one: one.calibration.best, default=None)

    def _look(self, conditions: Conditions) -> Found | None:
        if conditions not in self._found:
            self._found[conditions] = self._calibrations.find(conditions)
        return self._found[conditions]


def pack_size(
    trial: Trial, setup: Setup, wanted: int | str, holds: Callable[[int], bool], known: Known | None = None
) -> PackSize:
    """How many trials like this one train together.

    Args:
        trial: one of those that share a set-up.
        setup: of a pack of one.
        wanted: a number, which is kept even if it doesn't fit, or auto.
        holds: whether a pack of so many fits wherever a pack of one does, with as many packs at a time; false for all
            sizes above one that it is false for.
        known: what workers have measured; None: nothing.
    """
    if trial.method.name == "full":
        return PackSize(1, FULL)
    if isinstance(wanted, int):
        return PackSize(wanted, ASKED)
    most = largest(holds, MOST[setup.device])
    alone = setup.ranks == 1 and setup.zero_stage == 0  # else ranks would have to measure together
    found = known.find(trial, setup) if known is not None and alone else None
    if found is not None:
        return PackSize(min(found.calibration.best, most), found.place, measured=found.calibration)
    return PackSize(min(USUAL[setup.device], most), MODEL, measure_to=most if most > 1 and alone else 0)


def largest(holds: Callable[[int], bool], most: int) -> int:
    """The largest number up to ``most`` that holds, as all below it do; 1 is taken to."""
    low, high = 1, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    return low
