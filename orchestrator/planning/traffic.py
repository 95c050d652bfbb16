"""What the ranks of a pack exchange, in seconds, by arithmetic on bytes and the rate of their links.

At ZeRO stage 3 every pass forward and every pass back gathers all weights once: a rank takes in those that the others
hold, and with offload its own from the machine's memory. Answers are generated token by token, each a pass. The packs'
trials share that. Ranks add up the gradients of modules, ring-wise, once a step; those of ``full`` are added up and its
weights handed round at stages 1 and 2, at stage 3 its gradients are added up at every pass. Nothing of it is taken to
overlap with computing, though DeepSpeed fetches ahead: an upper estimate.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from orchestrator.planning.groups import counted
from orchestrator.planning.memory import VALUE_BYTES, number_bytes
from orchestrator.planning.speeds import PCIE
from orchestrator.planning.work import scored
from trials import tasks
from trials.backbones import loaded_parameters

if TYPE_CHECKING:
    from trials.setup import Setup
    from trials.trial import Trial


def seconds(trial: Trial, setup: Setup, link: float) -> float:
    """Seconds of one trial's share of what its pack's ranks exchange.

    Args:
        trial: one of the pack.
        setup: of the pack.
        link: bytes a second that a rank takes in; of ranks on several machines what one of those does, for what goes
            round all ranks goes through the network of each once.
    """
    if setup.ranks == 1 and not setup.offload:
        return 0.0
    loaded, full = loaded_parameters(trial.backbone), trial.method.name == "full"
    others = 1 - 1 / setup.ranks
    trained, answered = _passes(trial, setup)
    found = 0.0
    if setup.zero_stage == 3:
        each = VALUE_BYTES if full else number_bytes(trial.training.precision, setup.gpus > 0)
        gather = loaded * each * (others / link + (1 / setup.ranks / PCIE if setup.offload else 0.0))
        reduced = loaded * VALUE_BYTES * others / link if full else 0.0
        found += (trained * (2 * gather + reduced) + answered * gather) / setup.pack_size
    if setup.zero_stage < 3 or not full:
        theta = counted(trial.method, trial.backbone, loaded)
        found += trial.training.steps * 2 * theta * VALUE_BYTES * others / link
        if setup.offload and full:
            found += (
                trial.training.steps * 2 * theta * VALUE_BYTES / setup.ranks / PCIE
            )  # gradients there, weights back
    return found


def _passes(trial: Trial, setup: Setup) -> tuple[float, float]:
    """Passes forward and back of all steps, and passes that score."""
    share = ceil(trial.training.batch_size / setup.ranks)
    rows = min(setup.micro_batch or share, share)
    generates = trial.backbone.family != "bert"
    answered = sum(
        n / (rows * setup.ranks) * (tasks.get(name).target_tokens if generates else 1) for name, n in scored(trial)
    )
    return trial.training.steps * ceil(share / rows), answered
