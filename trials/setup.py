"""How a pack runs: the one decision about hardware, made by the planner, carried by the pack, obeyed by the worker."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Setup:
    """How the packs of a group of trials run on given devices. ``orchestrator.planning.fit`` decides, nobody else.

    Never part of a trial's identity: the same trial under another set-up gives the same numbers.

    Args:
        device: ``cpu`` or ``cuda``; ``auto`` in a pack that was written by hand: the GPU where there is one.
        gpus: cards of one pack, 0 on a CPU.
        ranks: processes that hold the backbone together: one a card, one on a CPU.
        zero_stage: DeepSpeed's stage: 0 all on every card, 1 moments shared, 2 gradients too, 3 weights too.
        offload: whether moments, and at stage 3 the weights, lie in the machine's memory.
        pack_size: trials of one pack at most.
        micro_batch: rows of a batch that go through the backbone at once at most, None for all of them; the gradients
            add up to those of the whole batch.
        threads: torch's CPU threads of one rank, None for torch's own choice; one makes results bitwise repeatable.
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
    pack_size: int = 1
    micro_batch: int | None = None
    threads: int | None = None
    memory: int = 0
    measure_to: int = 0
    checkpoint_s: float = 30.0
    reason: str = ""


def beyond(setup: Setup) -> str:
    """What of a set-up this release can't train, and the rule; empty where nothing is. Gangs will lift this."""
    if setup.gpus <= 1 and setup.ranks == 1 and not setup.zero_stage and not setup.offload:
        return ""
    cards = f"{setup.gpus} GPUs" if setup.gpus > 1 else f"{setup.ranks} ranks" if setup.ranks > 1 else "one device"
    offload = " with offload" if setup.offload else ""
    return (
        f"{cards} at ZeRO stage {setup.zero_stage}{offload}, and this release trains a pack whole, on the CPU or on "
        "one GPU"
    )
