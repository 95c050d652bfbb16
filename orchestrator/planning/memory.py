"""Memory of a pack of trials on one rank, and in the machine beside its card: arithmetic on shapes, no weights.

A frozen backbone takes its weights in their precision, and every trained scalar 20 bytes: value, gradient, AdamW's two
moments and the copy of the best step, all float32 (``workers.engines.whole``, ``workers.pack.state``); in bf16 two more
for the copy that multiplies. ``full`` has its weights in float32 (``workers.backbone.full``): 20 bytes a parameter too,
under autocast two more for every weight that multiplies, from the first pass to the end of backward, and a copy of the
loaded weights in the machine's memory, which on a CPU is the same memory. What passes keep comes on top:
``orchestrator.planning.activations``, and what the block at work needs beside on the way back, as a multiple of what
it keeps: :data:`WORKING`. Not in it: the process itself, and what a GPU's libraries take.

Ranks share the rows of a batch, and at ZeRO's stages (arXiv 1910.02054) what a backbone is. Modules are whole on every
rank at every stage: stage 3 shares the frozen weights, the others nothing. Of ``full`` stage 1 shares the moments,
stage 2 gradients too, stage 3 weights too; the copy of the best step of a rank's part lies in the machine's memory
(``workers.engines.zero``), and at stages 1 and 2 a rank has its part of the weights once more, for AdamW. At stage 3 a
rank gathers some layers at a time: of modules one block ahead and the largest tensor (``workers.backbone.sharded``; a
rank alone has them already), of ``full`` :data:`GATHERED` weights more. Offload moves what is shared to the machine's
memory (arXiv 2101.06840).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil

from orchestrator.planning.activations import Correction, Pass, block_bytes, loss_bytes, recomputed_bytes, saved_bytes
from trials.modules import counts, methods
from trials.modules.sites import SOFT_TOKENS, Site, sites, sites_of
from trials.trial import BackboneRef, Method, Shape, Trial

VALUE_BYTES = GRADIENT_BYTES = BEST_BYTES = 4  # of a trained scalar, float32
MOMENTS_BYTES = 8
WORKING = {"bert": 0.8, "bloom": 2.4, "t5": 0.1}  # of what a frozen block keeps, measured
WORKING_FULL = 1.6  # of a trained block: it keeps more, and T5 is then unfused
KEEPING = ("concat", "plug")  # operations that make autograd keep more
GATHERED = 10**8  # weights that it has gathered ahead at stage 3 for ``full``: LIVE of workers.engines.zero
BUCKET = 5 * 10**7  # scalars that it exchanges at once: workers.engines.zero


@dataclass(frozen=True)
class Memory:
    """Bytes of one pack on a rank that has all of it, and its part of the rows.

    Args:
        weights: of the backbone on its device.
        values: of what trains beside the backbone, with its bf16 copy.
        best: of the copies of the best step.
        gradients, moments: of what trains.
        casts: bf16 copies of float32 weights, under autocast.
        saved: what a pass keeps for backward, at its peak, with what the block at work needs beside.
        update: what a step needs beside when what passes keep is gone: AdamW's on a GPU, or the gradients that ranks
            add up.
        host: a copy of the loaded weights in the machine's memory.
        gathered: weights that a rank has whole at a time at stage 3.
        largest: of these the largest tensor, a part of which, or all, is there twice on its way.
        full: whether the backbone trains.
    """

    weights: int
    values: int
    best: int
    gradients: int
    moments: int
    casts: int
    saved: int
    update: int
    host: int
    gathered: int
    largest: int
    full: bool

    @property
    def state(self) -> int:
        """Of what trains, its own weights aside if it is the backbone."""
        return self.values + self.best + self.gradients + self.moments

    def on_card(self, ranks: int = 1, zero_stage: int = 0, offload: bool = False) -> int:
        """Bytes on each card.

        Args:
            ranks: cards of the pack.
            zero_stage: 0 to 3.
            offload: whether what the stage shares lies in the machine's memory.
        """
        update = self.update if not self._zero(zero_stage) else 0 if offload else ceil(self.update / ranks)
        return self._lasting(ranks, zero_stage, offload) + max(self.casts + self.saved, update)

    def in_process(self, ranks: int = 1, zero_stage: int = 0) -> int:
        """Bytes of each rank on a CPU, where device and machine are one; there AdamW goes tensor by tensor."""
        update = 0 if self.full or ranks == 1 else self.update
        passing = max(self.casts + self.saved, update)
        flat = self.largest if zero_stage == 3 and ranks > 1 else 0  # gloo gathers into a copy, and that is given
        return self._lasting(ranks, zero_stage) + flat + passing + self._copies(ranks, zero_stage)

    def beside(self, ranks: int = 1, zero_stage: int = 0, offload: bool = False) -> int:
        """Bytes of the machine's memory that each rank takes beside its card.

        That is its part of what is offloaded, and the copies that ``full`` keeps; weights come through it a few MiB at
        a time on their way to the card.
        """
        there = self._shared(zero_stage) + (self.weights if self.full else 0) if offload else 0
        return ceil(there / ranks) + self._copies(ranks, zero_stage)

    def _lasting(self, ranks: int, zero_stage: int, offload: bool = False) -> int:
        """What a rank holds from step to step, and what it gathers and exchanges."""
        shared = self._shared(zero_stage)
        whole = self.weights + self.state - shared - (self.best if self._zero(zero_stage) else 0)
        parts = shared + (self.weights if self._zero(zero_stage) and zero_stage < 3 else 0)  # once more, for AdamW
        exchanged = 2 * BUCKET * VALUE_BYTES if self._zero(zero_stage) else 0
        own = ceil(self.largest / ranks) if offload else ceil(parts / ranks)
        gathers = zero_stage == 3 and (self.full or offload or ranks > 1)
        return whole + own + (self.gathered if gathers else 0) + min(exchanged, 2 * self.weights)

    def _copies(self, ranks: int, zero_stage: int) -> int:
        """Of ``full``: the copy of the loaded weights, at stage 3 of a rank's part, and that of the best step."""
        best = ceil(self.best / ranks) if self._zero(zero_stage) else 0
        return ceil(self.host / (ranks if zero_stage == 3 else 1)) + best

    def _shared(self, zero_stage: int) -> int:
        """Bytes that a stage shares among ranks."""
        if not self.full:
            return self.weights if zero_stage == 3 else 0
        parts = (self.moments, self.gradients, self.weights)
        return sum(part for stage, part in enumerate(parts, start=1) if zero_stage >= stage)

    def _zero(self, zero_stage: int) -> bool:
        """Whether DeepSpeed's own engine trains."""
        return self.full and zero_stage > 0


def memory(
    trial: Trial,
    loaded: int,
    trained: int,
    pack_size: int,
    bytes_per_number: int,
    rows: int | None = None,
    beside: Sequence[Trial] = (),
    recompute: bool = False,
) -> Memory:
    """Memory of a pack of trials like this one, when its batches are as long as they may be: an upper estimate.

    Args:
        trial: gives shape, batch size, lengths and method.
        loaded: parameters of the backbone as a worker loads it.
        trained: scalars of one trial of the pack.
        pack_size: trials in the pack.
        bytes_per_number: 2 for bf16, 4 for fp32.
        rows: of a batch in memory at once on this rank, None for all of them.
        beside: trials of other methods that may be in the pack too.
        recompute: whether blocks are computed again on the way back.
    """
    ref, full, mixed = trial.backbone, trial.method.name == "full", bytes_per_number == 2
    one, scalars = forward(trial, pack_size, bytes_per_number, rows, beside, recompute), trained * pack_size
    own = 0 if full else VALUE_BYTES + (2 if mixed else 0)
    per_weight = VALUE_BYTES if full else bytes_per_number
    block, tensor, multiplied = _layers(ref.family, ref.shape)
    gathered = block + tensor + (GATHERED if full else 0)
    return Memory(
        weights=loaded * per_weight,
        values=scalars * own,
        best=scalars * BEST_BYTES,
        gradients=scalars * GRADIENT_BYTES,
        moments=scalars * MOMENTS_BYTES,
        casts=2 * multiplied if one.autocast else 0,
        saved=saved_bytes(one)
        + max(0, recomputed_bytes(one) + _working(one) - loss_bytes(one)),  # the loss is gone by then
        update=scalars * VALUE_BYTES,
        host=loaded * bytes_per_number if full else 0,
        gathered=min(loaded, gathered) * per_weight,
        largest=tensor * per_weight,
        full=full,
    )


def number_bytes(precision: str, on_gpu: bool) -> int:
    """Bytes of a weight: 2 in bf16, which ``auto`` takes on a GPU; 4 in fp32."""
    return 2 if precision == "bf16" or (precision == "auto" and on_gpu) else 4


def _working(one: Pass) -> int:
    """Bytes that the block at work needs beside what it keeps."""
    largest = max((block_bytes(one, stack) for stack, n in one.stacks.items() if n), default=0)
    return ceil(largest * (WORKING_FULL if one.full else WORKING[one.family]))


def forward(
    trial: Trial,
    pack_size: int,
    bytes_per_number: int,
    rows: int | None = None,
    beside: Sequence[Trial] = (),
    recompute: bool = False,
) -> Pass:
    """The longest forward pass of a pack of trials like this one; arguments as of :func:`memory`.

    ``apet`` counts as reaching the lowest block: its trials' positions differ, and so do those of a pack.
    """
    settings, family = trial.training, trial.backbone.family
    rows = min(rows or settings.batch_size, settings.batch_size)
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
        recompute=recompute,
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
        return _dealt(method, ref)
    placed = [p for p in methods.place(method, ref) if p.op in KEEPING and p.sites[0].kind != SOFT_TOKENS]
    return tuple(Correction(p.op, frozenset(site.kind for site in p.sites), sum(p.units)) for p in placed)


@lru_cache(maxsize=1024)
def _dealt(method: Method, ref: BackboneRef) -> tuple[Correction, ...]:
    """The corrections of ``apet``: as many units as its count pays for where they are smallest."""
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
def _layers(family: str, shape: Shape) -> tuple[int, int, int]:
    """Weights of the largest block, of the largest tensor, and of all layers that multiply, the output's too."""
    blocks: Counter[tuple[str, int]] = Counter()
    for site in sites_of(family, shape):
        blocks[site.stack, site.block] += _weights(site)
    table = shape.vocab * shape.d_model
    head = table + (shape.d_model**2 if family == "bert" else 0) if shape.lm_head else 0
    tensor = max(table, *map(_weights, sites_of(family, shape)))
    return max(blocks.values()), tensor, sum(blocks.values()) + head


def _weights(site: Site) -> int:
    """Scalars of the matrix behind a site; of a norm's vectors, which don't multiply matrices, none."""
    return 0 if site.kind == "norm" else site.d_in * site.d_out
