"""How a group of trials runs on given machines: the one decision, for ``plan`` and ``run`` alike.

The cheapest that fits: :mod:`orchestrator.planning.candidates` has the order. Where no machine has a card, the CPU;
where that is too small, an assumed machine shows what it would take. What ``resources`` ask for, a wish for every pack,
is kept, even if it doesn't fit. How many trials train together: :mod:`orchestrator.planning.sizes`. A pack has its
cards for itself: small backbones fill one with larger packs, which share products and a process, and not with several.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import TYPE_CHECKING

from orchestrator.planning import candidates
from orchestrator.planning.capacity import USABLE, at_once, packs_on
from orchestrator.planning.devices import ASSUMED, CARDS, Machine
from orchestrator.planning.groups import by_method, counted
from orchestrator.planning.memory import Memory, memory, number_bytes
from orchestrator.planning.sizes import MODEL, Known, pack_size
from orchestrator.planning.spread import part, ways
from orchestrator.text import GIB, number, size
from trials.backbones import loaded_parameters
from trials.setup import Setup
from trials.store.calibration import Calibration
from trials.trial import Trial

if TYPE_CHECKING:
    from trials.sweep.resources import Resources

PROCESS_BYTES = 3 * GIB // 4  # of a worker on a CPU: Python and its libraries, .53 to .71 GiB on tiny backbones
ZERO_BYTES = GIB // 8  # more of one with DeepSpeed in it: .12 GiB on a tiny backbone
GPU_PROCESS_BYTES = 4 * GIB  # of a worker beside a GPU, with CUDA's libraries: an allowance, not measured
CONTEXT_BYTES = GIB  # of a card: CUDA's context and the workspaces of its libraries; an allowance
NCCL_BYTES = GIB  # of each card of a gang: the buffers that ranks exchange through; an allowance
MORE = (2, 4, 8, 16, 32)  # cards that are thought of where there are too few


@dataclass(frozen=True)
class Fit:
    """How a group of trials runs.

    Args:
        setup: of its packs.
        needed: bytes on each card, or on a CPU of each rank's process: an upper estimate.
        device_bytes: memory of such a card, or of the machine.
        at_once: packs at a time on all machines; 0 where they can't hold one.
        lacking: why the machines can't hold a pack, and what would, in words; empty where they can.
        assumed: whether the set-up is one for :data:`ASSUMED`, for the machines can't hold a pack.
        asked: what ``resources`` ask of devices, in words; empty where that is left to us.
        pack_source: where the pack's size comes from: ``resources``; ``full``, which is alone; a measurement in the
            ``store`` or the ``cache``; or the ``model`` of memory.
        measured: what workers have measured of these packs.
        why: this set-up and no other, in words, the pack's size aside.
        card: the kind of card that is planned for, empty where it isn't known, and on the CPU.
        price: dollars an hour of the part of a machine that a pack takes; 0 where that isn't known.
        needs_type: whether no other type of node than the set-up's holds it without offload.
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
    why: str = ""
    card: str = ""
    price: float = 0.0
    needs_type: bool = False

    @property
    def fits(self) -> bool:
        """Whether USABLE of the device that is planned for is enough."""
        ranks = 1 if self.setup.gpus else part(self.setup).ranks
        return self.needed * ranks <= self.device_bytes * USABLE

    @property
    def refusal(self) -> str:
        """Why a pack can't be run; empty where it can."""
        return (
            f"{self.lacking}; {self.asked}: auto takes what there is" if self.lacking and self.asked else self.lacking
        )


def fit(
    trials: Sequence[Trial],
    machines: Sequence[Machine],
    wanted: Resources,
    known: Known | None = None,
    advise: bool = True,
) -> Fit:
    """The set-up of trials that may share packs.

    Args:
        trials: one or more, of one group (``orchestrator.planning.groups``).
        machines: any of which may get a pack, if it has the cards and the memory that the set-up says.
        wanted: of every pack.
        known: what workers have measured; None: nothing.
        advise: whether a refusal says what would hold a pack, which takes most of the time.

    Raises:
        ApetError: wishes that exclude each other.
    """
    wanted.check(trials[0].training.batch_size)
    on_cpu, on_cards = (_Ask(trials, wanted, known, on_gpu, advise) for on_gpu in (False, True))
    if wanted.gpus == 0 or not (any(one.gpus for one in machines) or _asks_for_cards(wanted)):
        found = on_cpu.best(machines)
        if wanted.gpus == 0 or not found.lacking:
            return found
        lacking = found.lacking
    elif any(one.gpus for one in machines):
        return on_cards.best(machines)
    else:
        lacking = f"there is {names(machines)}"
    shown = on_cards.best((ASSUMED,))
    return replace(shown, at_once=0, lacking=lacking, assumed=True)


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
    advise: bool

    @property
    def _first(self) -> Trial:
        return self.trials[0]

    @property
    def _full(self) -> bool:
        return self._first.method.name == "full"

    @cached_property
    def needs(self) -> Callable[[int, int | None, bool], Memory]:
        """Memory of a pack by its size, the rows of a rank at a time and whether blocks are computed again: as large as
        it may get with these trials."""
        loaded = loaded_parameters(self._first.backbone)

        def scalars(trial: Trial) -> int:
            return counted(trial.method, trial.backbone, loaded)

        largest = [max(some, key=scalars) for some in by_method(self.trials).values()]  # of every method the most
        most = max(map(scalars, largest))
        precision = number_bytes(self._first.training.precision, self.on_gpu)
        first, *beside = largest
        return cache(lambda n, rows, again: memory(first, loaded, most, n, precision, rows, beside, again))

    def best(self, machines: Sequence[Machine]) -> Fit:
        """The first candidate that fits, with packs as large as is best there; else the one that needs the least."""
        tries: list[Fit] = []
        for n, some in ways(machines):
            for setup in self._candidates(some, n):
                found = self._tried(setup, self._least_size, some)
                if found.at_once and found.fits:
                    return self._sized(setup, some)
                tries.append(found)
        most = max(machines, key=lambda one: (one.gpus, one.card_bytes) if self.on_gpu else one.memory, default=None)
        least = min(tries, key=lambda one: _excess(one, most))
        device = 0 if most is None else most.card_bytes if self.on_gpu else most.memory
        found = replace(self._sized(least.setup, machines), device_bytes=device, at_once=0)
        return replace(found, lacking="; ".join([_lacking(found, most), *self._enough(most)]))

    def _candidates(self, machines: Sequence[Machine], spread: int = 1) -> Iterator[Setup]:
        batch_size = self._first.training.batch_size
        if self.on_gpu:
            most = max((one.gpus for one in machines), default=0)
            return candidates.on_cards(self.wanted, most, batch_size, self._full, spread)
        return candidates.on_cpu(self.wanted, batch_size, self._full, spread)

    @property
    def _least_size(self) -> int:
        return self.wanted.pack_size if isinstance(self.wanted.pack_size, int) and not self._full else 1

    def _tried(self, setup: Setup, n: int, machines: Sequence[Machine]) -> Fit:
        """Packs of ``n`` trials."""
        share = -(-self._first.training.batch_size // setup.ranks)
        held = self.needs(n, min(setup.micro_batch or share, share), setup.recompute)
        asked, why = candidates.asked(self.wanted), candidates.reason(setup, self.wanted)
        if not setup.gpus:
            process = PROCESS_BYTES + (ZERO_BYTES if setup.zero_stage else 0)
            needed = process + held.in_process(setup.ranks, setup.zero_stage)
            setup = replace(setup, pack_size=n, memory=needed)
            most = max((one.memory for one in machines), default=0)
            return Fit(setup, needed, most, at_once(setup, machines), asked=asked, why=why)
        gang = setup.ranks, setup.zero_stage, setup.offload
        needed = held.on_card(*gang) + CONTEXT_BYTES + (NCCL_BYTES if setup.gpus > 1 else 0)
        setup = replace(setup, pack_size=n, memory=GPU_PROCESS_BYTES + held.beside(*gang))
        able = min((m for m in machines if packs_on(setup, m)), key=lambda m: m.card_bytes, default=None)
        card, kind = (able.card_bytes, able.card) if able else (0, "")
        there = at_once(setup, machines) if able else 0
        return Fit(setup, needed, card, there, asked=asked, why=why, card=kind)

    def _sized(self, setup: Setup, machines: Sequence[Machine]) -> Fit:
        """With packs as large as is best there."""
        one = self._tried(setup, 1, machines)
        able = one.at_once and one.fits

        def holds(n: int) -> bool:
            found = self._tried(setup, n, machines)
            return found.fits and found.at_once == one.at_once

        found = pack_size(self._first, one.setup, self.wanted.pack_size, holds if able else _nothing, self.known)
        tried = self._tried(setup, max(found.size, found.measure_to), machines)
        setup = replace(
            tried.setup,
            pack_size=found.size,
            measure_to=found.measure_to,
            checkpoint_s=self.wanted.checkpoint_s,
            reason=f"{tried.why}; {found}",
        )
        return replace(tried, setup=setup, pack_source=found.source, measured=found.measured)

    def _enough(self, like: Machine | None) -> Iterator[str]:
        """What would hold a pack: more cards like those of a machine, as many of another kind, else more of another."""
        if not (self.advise and self.on_gpu and like):
            return
        fixed = self.wanted.gpus not in ("auto", 0) or self.wanted.ranks != "auto"
        more = [] if fixed else [n for n in MORE if n > like.gpus]
        kinds = sorted((mib * 2**20, name) for name, mib in CARDS.items() if mib * 2**20 > like.card_bytes)
        larger = [(replace(like, card_bytes=n), f"GPUs of {size(n)} ({name})") for n, name in kinds]
        found = [
            *self._first_of((_times(like, n), f"a machine with {n} such GPUs") for n in more),
            *self._first_of(larger),
        ]
        yield from found or self._first_of(
            (_times(kind, n), f"a machine with {n} {what}") for n in more for kind, what in larger
        )

    def _first_of(self, machines: Iterable[tuple[Machine, str]]) -> Iterator[str]:
        for machine, what in machines:
            for setup in self._candidates([machine]):
                found = self._tried(setup, self._least_size, [machine])
                if found.at_once and found.fits:
                    yield f"on {what}, with {size(machine.memory)} of memory, it would be {candidates.way(setup)}"
                    return


def _nothing(n: int) -> bool:
    return False


def _times(machine: Machine, gpus: int) -> Machine:
    """A machine with more cards, and CPUs and memory in proportion."""
    each = max(1, machine.gpus)
    return replace(machine, gpus=gpus, cpus=machine.cpus * gpus // each, memory=machine.memory * gpus // each)


def _excess(one: Fit, most: Machine | None) -> tuple[float, int]:
    """How many times a machine's cards, memory or cores a set-up takes, and bytes of a card or a process."""
    if most is None:
        return 0.0, one.needed
    setup = part(one.setup)
    taken = [setup.memory * setup.ranks / (most.memory * USABLE), setup.ranks * (setup.threads or 1) / most.cpus]
    if setup.gpus:
        taken += [setup.gpus / max(most.gpus, 1), one.needed / max(most.card_bytes * USABLE, 1)]
    return max(taken), one.needed


def _lacking(least: Fit, most: Machine | None) -> str:
    """Why the machines can't hold what needs the least of all."""
    setup, usable = least.setup, f"{USABLE:.0%} of memory may be used"
    there = "there is no machine" if most is None else f"there is {described(most)}, of which {usable}"
    if setup.gpus:
        beside = f"{size(setup.memory * part(setup).ranks)} of the machine's memory"
        return f"{candidates.way(setup)} takes {size(least.needed)} of each GPU and {beside}, and {there}"
    if setup.ranks == 1:
        return f"a worker on the CPU takes {size(least.needed)}, and {there}"
    return f"{setup.ranks} ranks take {number(setup.threads or 1, 'CPU')} and {size(least.needed)} each, and {there}"
