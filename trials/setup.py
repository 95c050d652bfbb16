"""How a pack runs: the one decision about hardware, made by the planner, carried by the pack, obeyed by the worker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

WHOLE = {
    "gpus": 0,
    "ranks": 1,
    "pack_size": 1,
    "micro_batch": 1,
    "threads": 1,
    "machines": 1,
    "memory": 0,
    "measure_to": 0,
}
"""Keys with whole numbers, and the least of each."""
STAGES = (0, 1, 2, 3)


@dataclass(frozen=True)
class Setup:
    """How the packs of a group of trials run on given devices. ``orchestrator.planning.fit`` decides, nobody else.

    Never part of a trial's identity: the same trial under another set-up gives the same numbers.

    Args:
        device: ``cpu`` or ``cuda``; ``auto`` in a pack that was written by hand: the GPU where there is one.
        gpus: cards of one pack, 0 on a CPU.
        ranks: processes that hold the backbone together and share the rows of a batch: one a card; on a CPU as many as
            are asked for.
        zero_stage: DeepSpeed's stage: 0 all on every rank, 1 moments shared, 2 gradients too, 3 weights too. Modules
            are so small that they are whole on every rank: theirs is 0, or 3, which shares the frozen weights.
        offload: whether what the stage shares lies in the machine's memory: moments and gradients, at stage 3 weights.
        recompute: whether blocks keep their input alone for the way back, and are computed again on it.
        pack_size: trials of one pack at most.
        micro_batch: rows of a batch that go through the backbone at once on one rank at most, None for all that it has;
            the gradients add up to those of the whole batch.
        threads: torch's CPU threads of one rank, None for torch's own choice; one makes results bitwise repeatable.
        machines: that the ranks are spread over, as many on each; more than one only where no single one holds them.
        memory: bytes of the machine's memory that one rank takes; 0 where nobody has said.
        measure_to: the largest pack that a worker may measure before its first one, since there is room for it in
            ``memory``; 0: none, for the size is given, or measured already.
        checkpoint_s: seconds of training between two checkpoints at most; evaluations write one too.
        reason: why this set-up and no other, in words.
    """

    device: str = "auto"
    gpus: int = 0
    ranks: int = 1
    zero_stage: int = 0
    offload: bool = False
    recompute: bool = False
    pack_size: int = 1
    micro_batch: int | None = None
    threads: int | None = None
    machines: int = 1
    memory: int = 0
    measure_to: int = 0
    checkpoint_s: float = 30.0
    reason: str = ""


def beyond(setup: Setup, batch_size: int | None = None) -> str:
    """Why nothing can run such a pack, whatever the machine, and the rule; empty where something could.

    Args:
        setup: its set-up.
        batch_size: rows of a batch of its trials; None: it doesn't matter.
    """
    if why := next(_wrong(setup), ""):
        return why
    if setup.gpus and setup.ranks != setup.gpus:
        return f"{setup.ranks} ranks on {setup.gpus} GPUs, and a rank holds one GPU; give as many ranks as GPUs"
    if setup.ranks % setup.machines:
        return f"{setup.ranks} ranks on {setup.machines} machines, and each has as many; give a multiple"
    if batch_size is not None and setup.ranks > batch_size:
        return (
            f"{setup.ranks} ranks and batches of {batch_size} rows, and ranks share the rows of a batch, at least one "
            f"each; give {batch_size} ranks at most, or a larger batch"
        )
    if setup.offload and (setup.device == "cpu" or not setup.zero_stage):
        what = "on the CPU" if setup.device == "cpu" else "at ZeRO stage 0"
        return (
            f"offload {what}, and it takes what the stage shares from a GPU to the machine's memory; give a GPU and "
            "stage 2 (moments and gradients) or 3 (weights too)"
        )
    return ""


def _wrong(setup: Setup) -> Iterator[str]:
    """Values that no key has: a pack may be written by hand."""
    for key, least in WHOLE.items():
        value = getattr(setup, key)
        if value is None and key in ("micro_batch", "threads"):
            continue
        if type(value) is not int or value < least:
            yield f"{key} {value!r}, and it is a whole number, {least} or more"
    if type(setup.zero_stage) is not int or setup.zero_stage not in STAGES:
        yield f"zero_stage {setup.zero_stage!r}, and ZeRO has the stages 0, 1, 2 and 3"
    for key in ("offload", "recompute"):
        if type(getattr(setup, key)) is not bool:
            yield f"{key} {getattr(setup, key)!r}, and it is true or false"
