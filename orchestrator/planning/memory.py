"""Memory of a pack of trials on its device, and in the machine beside a GPU: arithmetic on shapes, no weights.

A frozen backbone takes its weights in their precision, and every trained scalar 20 bytes: value, gradient, AdamW's two
moments and the copy of the best step, all float32 (``workers.engines.plain``, ``workers.pack.state``); in bf16 two more
for the copy that multiplies. ``full`` has its weights in float32 (``workers.backbone.full``): 20 bytes a parameter too,
under autocast two more for every weight that multiplies, from the first pass to the end of backward, and a copy of the
loaded weights in the machine's memory, which on a CPU is the same memory. What passes keep comes on top:
``orchestrator.planning.activations``, and what the block at work needs beside on the way back, as a multiple of what
it keeps: :data:`WORKING`. Not in it: the process itself, and what a GPU's libraries take.

DeepSpeed (ZeRO, arXiv 1910.02054): stage 1 shares the moments among the cards, stage 2 gradients too, stage 3 weights
too. Offload moves what is shared to the machine's memory (arXiv 2101.06840): at stage 2 the weights stay on the card
whole. At stage 3 a card holds those of one layer after the other, at least the largest block's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil

from orchestrator.planning.activations import Correction, Pass, block_bytes, loss_bytes, saved_bytes
from trials.errors import ApetError
from trials.modules import counts, methods
from trials.modules.sites import SOFT_TOKENS, Site, sites, sites_of
from trials.trial import Shape, Trial

VALUE_BYTES = GRADIENT_BYTES = BEST_BYTES = 4  # of a trained scalar, float32
MOMENTS_BYTES = 8
WORKING = {"bert": 0.8, "bloom": 2.4, "t5": 0.1}  # of what a frozen block keeps, measured
WORKING_FULL = 1.6  # of a trained block: it keeps more, and T5 is then unfused
KEEPING = ("concat", "plug")  # operations that make autograd keep more


@dataclass(frozen=True)
class Memory:
    """Bytes of one pack.

    Args:
        weights: of the backbone on its device.
        values: of what trains beside the backbone, with its bf16 copy, and of the copies of the best step.
        gradients, moments: of what trains.
        casts: bf16 copies of float32 weights, under autocast.
        saved: what a pass keeps for backward, at its peak, with what the block at work needs beside.
        update: what AdamW needs beside its state while it steps on a GPU, when what passes keep is gone.
        host: a copy of the loaded weights in the machine's memory.
        gathered: weights of the largest block or table.
    """

    weights: int
    values: int
    gradients: int
    moments: int
    casts: int
    saved: int
    update: int
    host: int
    gathered: int

    @property
    def state(self) -> int:
        """Of what trains, its own weights aside if it is the backbone."""
        return self.values + self.gradients + self.moments

    @property
    def on_cpu(self) -> int:
        """All of it, where device and machine are one; there AdamW goes tensor by tensor and needs no more."""
        return self.weights + self.state + self.casts + self.saved + self.host

    def on_card(self, gpus: int = 1, zero_stage: int = 0, offload: bool = False) -> int:
        """Bytes on each card of a gang, whose ranks share the rows of a batch.

        Args:
            gpus: cards.
            zero_stage: 0 to 3.
            offload: whether what the stage shares lies in the machine's memory; nothing is shared at stage 0.

        Raises:
            ApetError: offload at a stage that shares nothing.
        """
        shared = self._shared(zero_stage, offload)
        whole = self.weights + self.state - shared
        if zero_stage == 3:
            whole += self.gathered
        update = 0 if offload else ceil(self.update / (gpus if zero_stage else 1))
        passing = max(self.casts + ceil(self.saved / gpus), update)
        return whole + (0 if offload else ceil(shared / gpus)) + passing

    def in_machine(self, zero_stage: int = 0, offload: bool = False) -> int:
        """Bytes in the memory of the machine whose cards hold a pack, whatever their number.

        Raises:
            ApetError: as :meth:`on_card`.
        """
        return self.host + (self._shared(zero_stage, offload) if offload else 0)

    def _shared(self, zero_stage: int, offload: bool) -> int:
        """Bytes that a stage shares among cards; the copy of the best step is of the weights as a card has them."""
        if offload and zero_stage == 0:
            raise ApetError("offload at ZeRO stage 0, which shares nothing; give stage 2 (moments) or 3 (weights too)")
        parts = (self.moments, self.gradients, self.weights + self.values)
        return sum(part for stage, part in enumerate(parts, start=1) if zero_stage >= stage)


def memory(
    trial: Trial,
    loaded: int,
    trained: int,
    pack_size: int,
    bytes_per_number: int,
    micro_batch: int | None = None,
    beside: Sequence[Trial] = (),
) -> Memory:
    """Memory of a pack of trials like this one, when its batches are as long as they may be: an upper estimate.

    Args:
        trial: gives shape, batch size, lengths and method.
        loaded: parameters of the backbone as a worker loads it.
        trained: scalars of one trial of the pack.
        pack_size: trials in the pack.
        bytes_per_number: 2 for bf16, 4 for fp32.
        micro_batch: rows of a batch in memory at once, None for all of them.
        beside: trials of other methods that may be in the pack too.
    """
    ref, full, mixed = trial.backbone, trial.method.name == "full", bytes_per_number == 2
    one, scalars = forward(trial, pack_size, bytes_per_number, micro_batch, beside), trained * pack_size
    own = 0 if full else VALUE_BYTES + (2 if mixed else 0)
    per_weight = VALUE_BYTES if full else bytes_per_number
    largest, multiplied = _layers(ref.family, ref.shape)
    return Memory(
        weights=loaded * per_weight,
        values=scalars * (own + BEST_BYTES),
        gradients=scalars * GRADIENT_BYTES,
        moments=scalars * MOMENTS_BYTES,
        casts=2 * multiplied if one.autocast else 0,
        saved=saved_bytes(one) + max(0, _working(one) - loss_bytes(one)),  # the loss is gone by then
        update=scalars * VALUE_BYTES,
        host=loaded * bytes_per_number if full else 0,
        gathered=largest * per_weight,
    )


def _working(one: Pass) -> int:
    """Bytes that the block at work needs beside what it keeps."""
    largest = max((block_bytes(one, stack) for stack, n in one.stacks.items() if n), default=0)
    return ceil(largest * (WORKING_FULL if one.full else WORKING[one.family]))


def forward(
    trial: Trial,
    pack_size: int,
    bytes_per_number: int,
    micro_batch: int | None = None,
    beside: Sequence[Trial] = (),
) -> Pass:
    """The longest forward pass of a pack of trials like this one; arguments as of :func:`memory`.

    ``apet`` counts as reaching the lowest block: its trials' positions differ, and so do those of a pack.
    """
    settings, family = trial.training, trial.backbone.family
    rows = min(micro_batch or settings.batch_size, settings.batch_size)
    targets = settings.max_generated_length + 1  # the end is a target too
    soft = max(one.method.tokens or 0 for one in (trial, *beside))
    length = settings.max_input_length + soft + (targets if family == "bloom" else 0)
    return Pass(
        family=family,
        shape=trial.backbone.shape,
        rows=rows * pack_size,
        length=length,
        targets=targets,
        product=bytes_per_number,
        full=trial.method.name == "full",
        corrections=_together([made for one in (trial, *beside) for made in corrections(one)]),
        slices=pack_size,
    )


def _together(some: Sequence[Correction]) -> tuple[Correction, ...]:
    """One correction an operation, at least what any trial of the pack puts anywhere."""
    ops = {made.op: [other for other in some if other.op == made.op] for made in some}
    return tuple(
        Correction(op, frozenset().union(*(made.kinds for made in alike)), max(made.units for made in alike))
        for op, alike in ops.items()
    )


def corrections(trial: Trial) -> tuple[Correction, ...]:
    """What a trial puts on layers, where that makes autograd keep more."""
    method, ref = trial.method, trial.backbone
    if method.name == "full":
        return ()
    if method.name == "apet":
        return _dealt(trial)
    placed = [p for p in methods.place(method, ref) if p.op in KEEPING and p.sites[0].kind != SOFT_TOKENS]
    return tuple(Correction(p.op, frozenset(site.kind for site in p.sites), sum(p.units)) for p in placed)


def _dealt(trial: Trial) -> tuple[Correction, ...]:
    """The corrections of ``apet``: as many units as its count pays for where they are smallest."""
    method, ref = trial.method, trial.backbone
    assert method.operations is not None
    assert method.count is not None
    kinds = counts.resolve_sites(ref.family, method.operations, method.sites)
    given = counts.deal(method.count, method.operations, counts.capacity(ref, method.operations, kinds, method.tokens))
    found = []
    for op in given.keys() & {*KEEPING}:
        places = [site for site in sites(ref) if site.kind in kinds[op]]
        if places:
            smallest = min(counts.unit_size(op, site) for site in places)
            found.append(Correction(op, frozenset(site.kind for site in places), ceil(given[op] / smallest)))
    return tuple(sorted(found, key=lambda c: c.op))


@lru_cache(maxsize=64)
def _layers(family: str, shape: Shape) -> tuple[int, int]:
    """Weights of the largest block or table, and of all layers that multiply, the output layer with them."""
    blocks: Counter[tuple[str, int]] = Counter()
    for site in sites_of(family, shape):
        blocks[site.stack, site.block] += _weights(site)
    table = shape.vocab * shape.d_model
    head = table + (shape.d_model**2 if family == "bert" else 0) if shape.lm_head else 0
    return max(table, *blocks.values()), sum(blocks.values()) + head


def _weights(site: Site) -> int:
    """Scalars of the matrix behind a site; of a norm's vectors, which don't multiply matrices, none."""
    return 0 if site.kind == "norm" else site.d_in * site.d_out
