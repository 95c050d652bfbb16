"""What a trial costs, by arithmetic on shapes: memory, floating-point operations, time. Loads no weights.

Memory of a step: the weights in their precision, 16 bytes for every trained scalar (value, gradient and two moments
of AdamW in float32), and what is saved for the backward pass. The last follows the account of Korthikanti et al. 2022
(arXiv 2205.05198) without dropout: at 2 bytes a number, a block of sequence length s, batch b, width h and a heads
saves 2·a·s²·b of attention and 32·s·b·h of the rest, of which frozen linear layers, whose inputs nobody needs, save
only 18·s·b·h; ``apet`` reads the layers that it touches, anywhere. Logits over the vocabulary come on top for families
that generate. Sequences count at their maximum length, so this is an upper estimate of what is needed at once. On a CPU
the process itself comes on top, :data:`PROCESS_BYTES`; what libraries keep on a GPU is not in it. The ranks of a gang
share the batch.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import ceil

from orchestrator.text import GIB
from trials import tasks
from trials.trial import Trial

STATE_BYTES = 16  # of one trained scalar: float32 value, gradient and two moments
PROCESS_BYTES = 3 * GIB // 4  # of a worker on a CPU: Python and its libraries, .53 to .71 GiB on tiny backbones
CARD_BYTES = 80 * GIB  # the card that is planned for where the machine has none
CARD_FLOPS = 1e14  # sustained by such a card in bf16, about a third of its peak
BLOCK_S = 4e-3  # a step of one block, however small, on one core: 3 ms of CPU time measured, 6 on a busy machine
USABLE = 0.9  # of a card's memory
GANGS = (1, 2, 4, 8)
UNKNOWN_ROWS = 1000  # of a split that the sweep doesn't limit: its size is known once the data is read


@dataclass(frozen=True)
class Fit:
    """How a pack fits on GPUs.

    Args:
        gpus: cards of one pack.
        zero_stage: DeepSpeed's stage: 0 whole on each card, 2 gradients and moments shared, 3 weights too.
        offload: weights and moments stay in the machine's memory.
        bytes_per_gpu: memory on each card.
        fits: whether that is within a card's usable memory.
    """

    gpus: int
    zero_stage: int
    offload: bool
    bytes_per_gpu: int
    fits: bool


@dataclass(frozen=True)
class Need:
    """Bytes of one pack on one device."""

    weights: int
    state: int
    saved: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.state + self.saved

    def per_gpu(self, gpus: int, zero_stage: int, offload: bool) -> int:
        """Bytes on each card of a gang."""
        saved = self.saved // gpus
        if offload:
            return saved
        weights = self.weights // gpus if zero_stage == 3 else self.weights
        state = self.state // gpus if zero_stage >= 1 else self.state
        return weights + state + saved


def need(
    trial: Trial, loaded: int, trained: int, pack_size: int, bytes_per_number: int, micro_batch: int | None = None
) -> Need:
    """Memory of a pack of trials like this one.

    Args:
        trial: gives shape, batch size and lengths.
        loaded: parameters of the backbone as a worker loads it.
        trained: scalars of one trial of the pack.
        pack_size: trials in the pack.
        bytes_per_number: 2 for bf16, 4 for fp32.
        micro_batch: rows of a batch in memory at once, None for all of them.
    """
    shape, settings = trial.backbone.shape, trial.training
    rows = min(micro_batch or settings.batch_size, settings.batch_size)
    batch, length = rows * pack_size, settings.max_input_length + (trial.method.tokens or 0)
    targets = settings.max_generated_length + 1
    width = (32 if trial.method.name in ("full", "apet") else 18) * shape.d_model
    stacks = ((shape.blocks, length), (shape.decoder_blocks, targets))
    numbers = sum(blocks * batch * s * (width + 2 * shape.heads * s) for blocks, s in stacks) // 2
    if trial.backbone.family != "bert":
        numbers += batch * (targets + (length if trial.backbone.family == "bloom" else 0)) * shape.vocab
    return Need(loaded * bytes_per_number, trained * pack_size * STATE_BYTES, numbers * bytes_per_number)


def fit(needed: Need, gpus: int | None, zero_stage: int | None, offload: bool | None, card: int) -> Fit:
    """The smallest gang and stage that hold a pack; what is given is kept.

    Args:
        needed: bytes of the pack.
        gpus: cards asked for, None for the fewest.
        zero_stage: stage asked for, None for the lowest.
        offload: whether asked for, None for only where nothing else fits.
        card: bytes of one card.
    """
    options = [
        Fit(n, stage, off, size, size <= card * USABLE)
        for off in ((False, True) if offload is None else (offload,))
        for n in (GANGS if gpus is None else (max(gpus, 1),))
        for stage in (((0,) if n == 1 and not off else (2, 3)) if zero_stage is None else (zero_stage,))
        for size in [needed.per_gpu(n, stage, off)]
    ]
    return next((option for option in options if option.fits), options[-1])


def flops(trial: Trial, parameters: int) -> float:
    """Floating-point operations of a trial: 2 a weight and token forward, 2 back, 2 more for ``full``.

    Evaluation is a forward pass on validation at every evaluation, and once on the test rows of every task that is
    scored. The input embedding is a look-up and costs nothing, but on BLOOM, where it is the output layer too. Soft
    tokens lengthen every row.

    Args:
        trial: gives steps, batch size and how much is scored.
        parameters: of the backbone.
    """
    shape, settings = trial.backbone.shape, trial.training
    table = 0 if trial.backbone.family == "bloom" else shape.vocab * shape.d_model
    passes = 3 if trial.method.name == "full" else 2  # forward, back, and the gradients of weights
    rows = [(trial.task.name, settings.steps * settings.batch_size * passes), *_scored(trial)]
    tokens = sum(n * (tasks.get(task).row_tokens + (trial.method.tokens or 0)) for task, n in rows)
    return 2.0 * (parameters - table) * tokens


def least_s(trial: Trial) -> float:
    """Seconds of a trial, however small its layers: a step, and half of one for every batch that is scored."""
    shape, settings = trial.backbone.shape, trial.training
    batches = sum(n for _, n in _scored(trial)) / settings.batch_size
    return (shape.blocks + shape.decoder_blocks) * BLOCK_S * (settings.steps + batches / 2)


def evaluations(steps: int, eval_every: int | None) -> int:
    """How often validation is scored; always at the end."""
    return max(1, ceil(steps / eval_every)) if eval_every else 1


def _scored(trial: Trial) -> list[tuple[str, int]]:
    """Tasks, and how many of their rows are scored: validation at every evaluation, tests once."""
    settings = trial.training
    times = evaluations(settings.steps, settings.eval_every)
    tests = [(task.name, task.test_rows or UNKNOWN_ROWS) for task in (trial.task, *trial.evaluate_on)]
    return [(trial.task.name, times * (trial.task.validation_rows or UNKNOWN_ROWS)), *tests]


@cache
def measured_flops() -> float:
    """Operations a second of this machine's CPU in float32: one core's rate in matrix products, times the cores.

    The products are so small that libraries take one thread for them, and are timed by what the thread itself ran:
    a few milliseconds, and the same on a busy machine as on a quiet one.
    """
    import numpy as np

    n, products = 64, 64
    a, b = np.ones((products, n, n), dtype=np.float32), np.ones((n, n), dtype=np.float32)
    out = a @ b  # pages are touched
    best = min(_timed(lambda: np.matmul(a, b, out=out)) for _ in range(20))
    return 2.0 * n**3 * products / best * cores()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine_bytes() -> int:
    """Memory of this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@cache
def card_bytes() -> int | None:
    """Memory of this machine's smallest GPU; None without one."""
    if shutil.which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        return min(int(line) * 2**20 for line in done.stdout.split())
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def _timed(work: Callable[[], object]) -> float:
    start = time.thread_time()
    work()
    return time.thread_time() - start
