"""How a group of trials runs on given machines: the one decision, for ``plan`` and ``run`` alike.

The cheapest that fits comes first: whole on one card, with fewer rows of a batch at a time where all are too many; then
on the fewest cards that share what trains (ZeRO stage 2), then the weights too (stage 3); then offload to the machine's
memory. Where no machine has a card, the CPU; where that is too small, an assumed machine shows what it would take. What
``resources`` ask for, a wish for every pack, is kept, even if it doesn't fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import ceil
from typing import TYPE_CHECKING

from orchestrator.planning.devices import ASSUMED, Machine
from orchestrator.planning.groups import by_method, counted
from orchestrator.planning.memory import Memory, memory
from orchestrator.text import GIB, number, size
from trials.backbones import loaded_parameters
from trials.errors import ApetError
from trials.setup import Setup, beyond
from trials.trial import Trial

if TYPE_CHECKING:
    from trials.sweep.sweep import Resources

USABLE = 0.9  # of a card's or a machine's memory
PACK_SIZE = 1  # until workers measure how many fit
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
    """

    setup: Setup
    needed: int
    device_bytes: int
    at_once: int
    lacking: str = ""
    assumed: bool = False
    asked: str = ""

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


def fit(trials: Sequence[Trial], machines: Sequence[Machine], wanted: Resources) -> Fit:
    """The set-up of trials that may share packs.

    Args:
        trials: one or more, of one group (``orchestrator.planning.groups``).
        machines: any of which may get a pack, if it has the cards and the memory that the set-up says.
        wanted: of every pack.

    Raises:
        ApetError: wishes that exclude each other.
    """
    _check(wanted)
    pack_size = pack_size_of(wanted) if trials[0].method.name != "full" else 1
    rows = _rows(trials[0].training.batch_size, wanted)
    if wanted.gpus == 0 or not (any(one.gpus for one in machines) or _asks_for_cards(wanted)):
        found = _on_cpu(_needs(trials, pack_size, on_gpu=False), rows, pack_size, machines, wanted)
        if wanted.gpus == 0 or not found.lacking:
            return found
        lacking = found.lacking
    elif any(one.gpus for one in machines):
        return _on_cards(_needs(trials, pack_size, on_gpu=True), rows, pack_size, machines, wanted)
    else:
        lacking = f"there is {names(machines)}"
    shown = _on_cards(_needs(trials, pack_size, on_gpu=True), rows, pack_size, (ASSUMED,), wanted)
    return replace(shown, at_once=0, lacking=lacking, assumed=True)


def pack_size_of(wanted: Resources) -> int:
    """Trials of a pack at most."""
    return PACK_SIZE if wanted.pack_size == "auto" else wanted.pack_size


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


def number_bytes(precision: str, on_gpu: bool) -> int:
    """Bytes of a weight: 2 in bf16, which ``auto`` takes on a GPU; 4 in fp32."""
    return 2 if precision == "bf16" or (precision == "auto" and on_gpu) else 4


def _check(wanted: Resources) -> None:
    """Refuse wishes that exclude each other.

    Raises:
        ApetError: naming both.
    """
    if wanted.offload is True and wanted.zero_stage in (0, 1):
        raise ApetError(
            f"resources.offload is true and resources.zero_stage {wanted.zero_stage}, which leaves all that is large "
            "on the card; give stage 2 (moments and gradients), 3 (weights too) or auto"
        )
    for name, value in (("zero_stage", wanted.zero_stage), ("offload", wanted.offload)):
        if wanted.gpus == 0 and value not in ("auto", 0, False):
            raise ApetError(f"resources.gpus is 0 and resources.{name} {value}, which is for GPUs; give one of them")


def _asks_for_cards(wanted: Resources) -> bool:
    return wanted.gpus not in ("auto", 0) or wanted.zero_stage not in ("auto", 0) or wanted.offload is True


def _rows(batch_size: int, wanted: Resources) -> tuple[int | None, ...]:
    """Rows of a batch at a time, in the order in which they are tried: all, then half as many and so on."""
    if wanted.micro_batch != "auto":
        return (wanted.micro_batch,)
    return (None, *(batch_size >> n for n in range(1, batch_size.bit_length())))


def _needs(trials: Sequence[Trial], pack_size: int, on_gpu: bool) -> Callable[[int | None], Memory]:
    """Memory of a pack by the rows of a batch at a time, where it is as large as it may get with these trials."""
    loaded = loaded_parameters(trials[0].backbone)

    def scalars(trial: Trial) -> int:
        return counted(trial.method, trial.backbone, loaded)

    largest = [max(some, key=scalars) for some in by_method(trials).values()]  # of every method the largest count
    most = max(map(scalars, largest))
    precision = number_bytes(trials[0].training.precision, on_gpu)
    first, *beside = largest
    return cache(lambda rows: memory(first, loaded, most, pack_size, precision, rows, beside))


def _on_cpu(
    needs: Callable[[int | None], Memory],
    rows: Sequence[int | None],
    pack_size: int,
    machines: Sequence[Machine],
    wanted: Resources,
) -> Fit:
    """One thread a worker: the numbers are then the same on every machine, however many cores it has."""
    most = max((one.memory for one in machines), default=0)
    why = "resources.gpus is 0" if wanted.gpus == 0 else "no GPU"
    for given in rows:
        needed = PROCESS_BYTES + needs(given).on_cpu
        reason = f"{why}; {_rows_words(given)}"
        setup = Setup(
            "cpu",
            pack_size=pack_size,
            micro_batch=given,
            threads=1,
            memory=needed,
            checkpoint_s=wanted.checkpoint_s,
            reason=reason,
        )
        if together := at_once(setup, machines):
            return Fit(setup, needed, most, together)
    lacking = f"a worker on the CPU takes {size(needed)}, and {size(most * USABLE)} of {size(most)} may be used"
    return Fit(setup, needed, most, 0, lacking)


def _on_cards(
    needs: Callable[[int | None], Memory],
    rows: Sequence[int | None],
    pack_size: int,
    machines: Sequence[Machine],
    wanted: Resources,
) -> Fit:
    least, asked = None, _asked(wanted)
    for gpus, stage, offload in _gangs(machines, wanted):
        for given in rows:
            held = needs(given)
            needed = held.on_card(gpus, stage, offload)
            setup = Setup(
                device="cuda",
                gpus=gpus,
                ranks=gpus,
                zero_stage=stage,
                offload=offload,
                pack_size=pack_size,
                micro_batch=given,
                memory=GPU_PROCESS_BYTES + _beside(held, gpus, stage, offload),
                checkpoint_s=wanted.checkpoint_s,
                reason=f"{asked or _chosen(gpus, stage, offload)}; {_rows_words(given)}",
            )
            card = min((one.card_bytes for one in machines if _on(setup, one)), default=0)
            found = Fit(setup, needed, card, at_once(setup, machines), asked=asked)
            if card and found.fits:
                return found
            if least is None or needed < least.needed:
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


def _chosen(gpus: int, stage: int, offload: bool) -> str:
    if gpus == 1 and not stage:
        return "one GPU holds all of it"
    return f"the fewest GPUs that hold it, ZeRO stage {stage}{', with offload' if offload else ''}"


def _rows_words(rows: int | None) -> str:
    return "the whole batch at a time" if rows is None else f"{number(rows, 'row')} of a batch at a time"
