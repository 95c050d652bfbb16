"""Set-ups of a pack in the order in which they are tried, the cheapest first, and what is said of each.

Whole on one card comes first, then fewer rows of a batch at a time, then blocks that are computed again on the way
back; then the fewest cards that share the weights, where recompute comes before fewer rows; then offload. ``resources``
leave out what they exclude.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING

from orchestrator.text import number
from trials.setup import Setup

if TYPE_CHECKING:
    from trials.sweep.resources import Resources

GANGS = (1, 2, 4, 8, 16)  # cards of a pack that are tried
WISHES = ("gpus", "ranks", "zero_stage", "offload", "recompute")


def on_cards(wanted: Resources, most: int, batch_size: int, full: bool, machines: int = 1) -> Iterator[Setup]:
    """Set-ups on GPUs.

    Args:
        wanted: of every pack.
        most: cards of a machine.
        batch_size: rows of a batch, of which each rank takes one at least.
        full: whether the backbone trains.
        machines: that the ranks are spread over, as many on each.
    """
    fixed = next((n for n in (wanted.gpus, wanted.ranks) if n not in ("auto", 0)), None)
    gangs = [n for n in GANGS if n <= min(max(most, 1) * machines, batch_size)] if fixed is None else [int(fixed)]
    for offload in (False, True) if wanted.offload == "auto" else (wanted.offload,):
        for gpus in (n for n in gangs if n % machines == 0):
            for stage in _stages(wanted, full, gpus, bool(offload), whole=gpus == 1 or fixed is not None):
                gang = Setup("cuda", gpus, gpus, stage, bool(offload and stage), machines=machines)
                yield from _portions(gang, wanted, batch_size)


def on_cpu(wanted: Resources, batch_size: int, full: bool, machines: int = 1) -> Iterator[Setup]:
    """Set-ups on the CPU, one thread a rank: the numbers are then the same on every machine, however many cores it has.

    One rank where nothing else is asked for: ranks of one machine share its memory, so that more of them hold no more.
    """
    ranks = 1 if wanted.ranks == "auto" else wanted.ranks
    for stage in _stages(wanted, full, ranks, offload=False, whole=True) if ranks % machines == 0 else ():
        yield from _portions(Setup("cpu", 0, ranks, stage, threads=1, machines=machines), wanted, batch_size)


def _stages(wanted: Resources, full: bool, ranks: int, offload: bool, whole: bool) -> tuple[int, ...]:
    """ZeRO's stages, the one that costs the least communication first.

    Modules share nothing but frozen weights, at stage 3: the stages below run as 0, where there is nothing to offload
    either, whatever is wished.
    """
    auto = wanted.zero_stage == "auto"
    if full:
        shared = (2, 3) if auto else (int(wanted.zero_stage),)
        if offload:
            return tuple(stage for stage in shared if stage >= 2)
        return shared if ranks > 1 or not auto else (0,)
    if not auto and wanted.zero_stage != 3:
        return (0,) if not offload or wanted.offload is True else ()
    at_3 = (3,) if offload or ranks > 1 or not auto else ()
    return (0, *at_3) if auto and whole and not offload else at_3


def _portions(gang: Setup, wanted: Resources, batch_size: int) -> Iterator[Setup]:
    """A gang with all rows of a rank at a time, then half as many and so on, with recompute and without.

    Whole weights: fewer rows come before recompute, which is work. At stage 3 they come after, for every pass gathers.
    """
    share = ceil(batch_size / gang.ranks)
    halves = (None, *(share >> n for n in range(1, share.bit_length())))
    rows = halves if wanted.micro_batch == "auto" else (wanted.micro_batch,)
    again = (False, True) if wanted.recompute == "auto" else (bool(wanted.recompute),)
    if gang.zero_stage == 3:
        yield from (replace(gang, recompute=recompute, micro_batch=n) for n in rows for recompute in again)
    else:
        yield from (replace(gang, recompute=recompute, micro_batch=n) for recompute in again for n in rows)


def asked(wanted: Resources) -> str:
    """What ``resources`` ask of devices, in words; empty where that is left to us."""
    wishes = {name: getattr(wanted, name) for name in WISHES}
    return ", ".join(f"resources.{name} is {str(value).lower()}" for name, value in wishes.items() if value != "auto")


def reason(setup: Setup, wanted: Resources) -> str:
    """Why this set-up, in words: of a wish that it is one, of a choice what it is the cheapest of."""
    parts = [asked(wanted) or _chosen(setup)]
    if setup.machines > 1:
        parts.append(f"spread over {setup.machines} machines, for no single one holds it: ranks exchange by network")
    if wanted.zero_stage in (1, 2) and setup.zero_stage == 0:
        parts.append(f"modules are whole on every rank, so that stage {wanted.zero_stage} shares nothing and runs as 0")
    parts.append(_rows(setup))
    if setup.recompute:
        parts.append("blocks are computed again on the way back")
    return "; ".join(parts)


def way(setup: Setup) -> str:
    """A set-up in a few words: ``4 GPUs at ZeRO stage 3 with offload and recompute, 8 rows at a time``."""
    held = number(setup.gpus, "GPU") if setup.gpus else number(setup.ranks, "rank")
    held += f" on {setup.machines} machines" if setup.machines > 1 else ""
    stage = f" at ZeRO stage {setup.zero_stage}" if setup.zero_stage else ""
    more = " and ".join(word for word in ("offload", "recompute") if getattr(setup, word))
    rows = "" if setup.micro_batch is None else f", {number(setup.micro_batch, 'row')} at a time"
    return f"{held}{stage}{f' with {more}' if more else ''}{rows}"


def _chosen(setup: Setup) -> str:
    if not setup.gpus:
        return "no GPU"
    if setup.gpus == 1 and not setup.zero_stage:
        return "one GPU holds all of it"
    return f"the fewest GPUs that hold it, ZeRO stage {setup.zero_stage}{', with offload' if setup.offload else ''}"


def _rows(setup: Setup) -> str:
    each = " on each rank" if setup.ranks > 1 else ""
    if setup.micro_batch is None:
        return "its part of the batch at a time on each rank" if each else "the whole batch at a time"
    return f"{number(setup.micro_batch, 'row')} of a batch at a time{each}"
