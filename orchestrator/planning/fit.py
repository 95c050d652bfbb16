"""How a group of trials runs on given machines: the one decision, for ``plan`` and ``run`` alike.

The cheapest that fits comes first: whole on one card, with fewer trials in a pack and then fewer rows of a batch at a
time where all are too many; then on the fewest cards that share what trains (ZeRO stage 2), then the weights too
(stage 3); then offload to the machine's memory. Where no machine has a card, the CPU; where that is too small, an
assumed machine shows what it would take. What ``resources`` ask for, a wish for every pack, is kept, even if it doesn't
fit. How many trials train together: :mod:`orchestrator.planning.sizes`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from math import ceil
from typing import TYPE_CHECKING

from orchestrator.planning.devices import ASSUMED, Machine
from orchestrator.planning.groups import by_method, counted
from orchestrator.planning.memory import Memory, memory, number_bytes
from orchestrator.planning.sizes import MODEL, Known, pack_size
from orchestrator.text import GIB, number, size
from trials.backbones import loaded_parameters
from trials.setup import Setup, beyond
from trials.store.calibration import Calibration
from trials.trial import Trial

if TYPE_CHECKING:
    from trials.sweep.resources import Resources

USABLE = 0.9  # of a card's or a machine's memory
GANGS = (1, 2, 4, 8)
PROCESS_BYTES = 3 * GIB // 4  # of a worker on a CPU: Python and its libraries, .53 to .71 GiB on tiny backbones
GPU_PROCESS_BYTES = 4 * GIB  # of a worker beside a GPU, with CUDA's libraries: an allowance, not measured


@dataclass(frozen=True)
class Fit:
    """How a group of trials runs.

    Args:
        setup: of its packs.
        needed: bytes on each card, or on a CPU of each worker's process: an upper estimate.
        device_bytes: memory of such a card, or of the machine.
        at_once: packs at a time on all machines; 0 where they can't hold one.
        lacking: why the machines can't hold a pack, in words; empty where they can.
        assumed: whether the set-up is one for :data:`ASSUMED`, for the machines can't hold a pack.
        asked: what ``resources`` ask of GPUs, in words; empty where that is left to us.
        pack_source: where the pack's size comes from: ``resources``; ``full``, which is alone; a measurement in the
            ``store`` or the ``cache``; or the ``model`` of memory.
        measured: what workers have measured of these packs.
    """

    setup: Setup
    needed: int
    device_bytes: int
    at_once: int
    lacking: str = ""
    assumed: bool = False
    asked: str = ""
    pack_source: str = MODEL
    measured: Calibration | None = None

    @property
    def fits(self) -> bool:
        """Whether USABLE of the device that is planned for is enough."""
        return self.needed <= self.device_bytes * USABLE

    @property
    def refusal(self) -> str:
        """Why a pack can't be run: beyond the machines, or beyond this release; empty where it can."""
        whys = [why for why in (self.lacking, beyond(self.setup)) if why]
        if whys and self.asked:
            whys.append(f"{self.asked}: auto takes what there is")
        return "; ".join(whys)


def fit(trials: Sequence[Trial], machines: Sequence[Machine], wanted: Resources, known: Known | None = None) -> Fit:
    """The set-up of trials that may share packs.

    Args:
        trials: one or more, of one group (``orchestrator.planning.groups``).
        machines: any of which may get a pack, if it has the cards and the memory that the set-up says.
        wanted: of every pack.
        known: what workers have measured; None: nothing.

    Raises:
        ApetError: wishes that exclude each other.
    """
    wanted.check(trials[0].training.batch_size)
    on_cpu, on_cards = _Ask(trials, wanted, known, on_gpu=False), _Ask(trials, wanted, known, on_gpu=True)
    if wanted.gpus == 0 or not (any(one.gpus for one in machines) or _asks_for_cards(wanted)):
        found = _on_cpu(on_cpu, machines)
        if wanted.gpus == 0 or not found.lacking:
            return found
        lacking = found.lacking
    elif any(one.gpus for one in machines):
        return _on_cards(on_cards, machines)
    else:
        lacking = f"there is {names(machines)}"
    shown = _on_cards(on_cards, (ASSUMED,))
    return replace(shown, at_once=0, lacking=lacking, assumed=True)


def at_once(setup: Setup, machines: Sequence[Machine]) -> int:
    """Packs that run at a time: each takes its cores, its cards and its memory."""
    return sum(_on(setup, machine) * machine.count for machine in machines)


def _on(setup: Setup, machine: Machine) -> int:
    limits = [machine.cpus // (setup.ranks * (setup.threads or 1))]
    if setup.gpus:
        limits.append(machine.gpus // setup.gpus)
    if setup.memory:
        limits.append(int(machine.memory * USABLE) // (setup.memory * setup.ranks))
    return min(limits)


def names(machines: Sequence[Machine]) -> str:
    """Machines for people, each with what it has."""
    return "; ".join(described(one) for one in machines) or "no machine"


def described(one: Machine) -> str:
    """A machine with what it has: ``node-1, 2 CPUs, 23.5 GiB of memory, no GPU``."""
    cards = f"{number(one.gpus, 'GPU')} of {size(one.card_bytes)}" if one.gpus else "no GPU"
    count = f"{one.count} times " if one.count > 1 else ""
    return f"{count}{one.name or 'a machine'}, {number(one.cpus, 'CPU')}, {size(one.memory)} of memory, {cards}"


def _asks_for_cards(wanted: Resources) -> bool:
    return wanted.gpus not in ("auto", 0) or wanted.offload is True


@dataclass(frozen=True)
class _Ask:
    """Trials that may share packs, and what is wanted of these."""

    trials: Sequence[Trial]
    wanted: Resources
    known: Known | None
    on_gpu: bool

    @property
    def rows(self) -> tuple[int | None, ...]:
        """Rows of a batch at a time, in the order in which they are tried: all, then half as many and so on."""
        if self.wanted.micro_batch != "auto":
            return (self.wanted.micro_batch,)
        batch_size = self.trials[0].training.batch_size
        return (None, *(batch_size >> n for n in range(1, batch_size.bit_length())))

    @cached_property
    def needs(self) -> Callable[[int, int | None], Memory]:
        """Memory of a pack by its size and the rows of a batch at a time, as large as it may get with these trials."""
        loaded = loaded_parameters(self.trials[0].backbone)

        def scalars(trial: Trial) -> int:
            return counted(trial.method, trial.backbone, loaded)

        largest = [max(some, key=scalars) for some in by_method(self.trials).values()]  # of every method the most
        most = max(map(scalars, largest))
        precision = number_bytes(self.trials[0].training.precision, self.on_gpu)
        first, *beside = largest
        return cache(lambda size, rows: memory(first, loaded, most, size, precision, rows, beside))

    def sized(self, tried: Callable[[int], Fit]) -> Fit:
        """The fit of the packs that are best among those that are tried by size."""
        one = tried(1)
        able = one.at_once and one.fits

        def holds(size: int) -> bool:
            found = tried(size)
            return bool(able) and found.fits and found.at_once == one.at_once

        chosen = pack_size(self.trials[0], one.setup, self.wanted.pack_size, holds, self.known)
        found = tried(max(chosen.size, chosen.measure_to))
        reason = f"{found.setup.reason}; {chosen}"
        setup = replace(
            found.setup,
            pack_size=chosen.size,
            measure_to=chosen.measure_to,
            checkpoint_s=self.wanted.checkpoint_s,
            reason=reason,
        )
        return replace(found, setup=setup, pack_source=chosen.source, measured=chosen.measured)


def _on_cpu(ask: _Ask, machines: Sequence[Machine]) -> Fit:
    """One thread a worker: the numbers are then the same on every machine, however many cores it has."""
    most = max((one.memory for one in machines), default=0)
    why = "resources.gpus is 0" if ask.wanted.gpus == 0 else "no GPU"
    ranks = 1 if ask.wanted.ranks == "auto" else ask.wanted.ranks
    stage = ask.wanted.zero_stage if ask.wanted.zero_stage == 3 else 0
    for given in ask.rows:

        def tried(size: int, rows: int | None = given) -> Fit:
            needed = PROCESS_BYTES + ask.needs(size, rows).on_cpu
            reason = f"{why}; {_rows_words(rows)}"
            setup = Setup("cpu", 0, ranks, stage, pack_size=size, micro_batch=rows, threads=1, memory=needed, reason=reason)
            return Fit(setup, needed, most, at_once(setup, machines))

        found = ask.sized(tried)
        if found.at_once:
            return found
    lacking = f"a worker on the CPU takes {size(found.needed)}, and {size(most * USABLE)} of {size(most)} may be used"
    return replace(found, lacking=lacking)


def _on_cards(ask: _Ask, machines: Sequence[Machine]) -> Fit:
    least, asked = None, _asked(ask.wanted)
    for gpus, stage, offload in _gangs(machines, ask.wanted):
        gang = Setup("cuda", gpus=gpus, ranks=gpus, zero_stage=stage, offload=offload)
        for given in ask.rows:

            def tried(size: int, gang: Setup = gang, rows: int | None = given) -> Fit:
                held = ask.needs(size, rows)
                needed = held.on_card(gang.gpus, gang.zero_stage, gang.offload)
                beside = _beside(held, gang.gpus, gang.zero_stage, gang.offload)
                reason = f"{asked or _chosen(gang)}; {_rows_words(rows)}"
                memory = GPU_PROCESS_BYTES + beside
                setup = replace(gang, pack_size=size, micro_batch=rows, memory=memory, reason=reason)
                card = min((one.card_bytes for one in machines if _on(setup, one)), default=0)
                return Fit(setup, needed, card, at_once(setup, machines) if card else 0, asked=asked)

            found = ask.sized(tried)
            if found.at_once and found.fits:
                return found
            if least is None or found.needed < least.needed:
                least = found
    assert least is not None, "some gang is tried"
    setup, largest = least.setup, max(machines, key=lambda one: (one.gpus, one.card_bytes))
    lacking = f"takes {number(setup.gpus, 'GPU')} with {size(least.needed)} each"
    lacking += f" and {size(setup.memory * setup.ranks)} of the machine's memory, and there is {described(largest)}"
    return replace(least, device_bytes=largest.card_bytes, at_once=0, lacking=lacking)


def _gangs(machines: Sequence[Machine], wanted: Resources) -> Iterator[tuple[int, int, bool]]:
    """GPUs, ZeRO stage, offload, the cheapest first."""
    most = max((one.gpus for one in machines), default=0)
    gangs = [n for n in GANGS if n <= max(most, 1)] if wanted.gpus == "auto" else [max(1, wanted.gpus)]
    gangs = gangs if wanted.ranks == "auto" else [wanted.ranks]
    for offload in (False, True) if wanted.offload == "auto" else (wanted.offload,):
        for gpus in gangs:
            if wanted.zero_stage != "auto":
                stages: tuple[int, ...] = (wanted.zero_stage,)
            else:
                stages = (2, 3) if offload or gpus > 1 else (0,)
            yield from ((gpus, stage, offload) for stage in stages if stage >= 2 or not offload)


def _beside(held: Memory, gpus: int, stage: int, offload: bool) -> int:
    """Bytes that one rank holds in the machine's memory beside its process.

    The weights come through it on their way to the card; later it holds what is offloaded, of which each rank has its
    part, and the copy of the weights that ``full`` keeps, of which at stage 3 each rank has its part too.
    """
    offloaded = held.in_machine(stage, offload) - held.host
    host = ceil(held.host / gpus) if stage == 3 else held.host
    return max(held.host or held.weights, ceil(offloaded / gpus) + host)


def _asked(wanted: Resources) -> str:
    wishes = {"gpus": wanted.gpus, "zero_stage": wanted.zero_stage, "offload": wanted.offload}
    return ", ".join(f"resources.{name} is {str(value).lower()}" for name, value in wishes.items() if value != "auto")


def _chosen(gang: Setup) -> str:
    if gang.gpus == 1 and not gang.zero_stage:
        return "one GPU holds all of it"
    return f"the fewest GPUs that hold it, ZeRO stage {gang.zero_stage}{', with offload' if gang.offload else ''}"


def _rows_words(rows: int | None) -> str:
    return "the whole batch at a time" if rows is None else f"{number(rows, 'row')} of a batch at a time"
