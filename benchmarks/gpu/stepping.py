"""What trains on one batch, step by step as the loop of a pack takes them, with a mark after each part of a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from contenders import another, floor_model, packed
from opponents import peft_lora
from torch import Tensor, nn

from gpu.laps import Laps
from gpu.subjects import RATE
from trials.modules.positions import Layout, layout
from trials.trial import Trial
from workers.backbone.load import Backbone
from workers.engines.engine import Group
from workers.engines.plain import PlainEngine
from workers.modules.model import PackModel
from workers.modules.modules import Modules
from workers.pack.loop import CLIP
from workers.pack.portions import Portions
from workers.rows.batches import Batch, parts

FORWARD, BACKWARD, UPDATE = "forward", "backward", "update"


class Steps:
    """A call is one step: forward and back, in portions where memory is short; each trial is clipped and moved.

    Args:
        model: with what trains in it.
        groups: what trains, a group a trial; none: activations alone have gradients.
        batch: of every trial.
    """

    def __init__(self, model: PackModel, groups: Sequence[Sequence[nn.Parameter]], batch: Mapping[str, Tensor]) -> None:
        rows = len(batch["input_ids"])
        self._model = model
        self._engine = PlainEngine(model, [Group(list(g), RATE) for g in groups]) if groups else None
        self._batch, self._slices = Batch(batch, tuple(range(rows)), 0), range(max(1, len(groups)))
        self.portions = Portions(rows)

    @property
    def passes(self) -> int:
        """Of a step: 1 where memory holds all at once."""
        slices = min(self.portions.slices, len(self._slices))
        return -(-len(self._slices) // slices) * -(-len(self._batch.rows) // self.portions.rows)

    def __call__(self, laps: Laps) -> None:
        """One step."""

        def gradients(slices: Sequence[int], rows: int) -> Sequence[int]:
            if self._model.modules_K is not None:
                self._model.modules_K.active = list(slices)
            for tensors, share in parts(self._batch, rows):
                total = (self._model(tensors) * share).sum()
                laps.mark(FORWARD)
                total.backward()
                laps.mark(BACKWARD)
            return slices

        self.portions.fit(self._slices, gradients, self._reset)
        if self._engine is not None:
            self._engine.clip(self._slices, CLIP)
            self._engine.step()
        laps.mark(UPDATE)

    def _reset(self) -> None:
        if self._engine is not None:
            self._engine.reset()


def ours(backbone: Backbone, trials: Sequence[Trial], batch: Mapping[str, Tensor]) -> Steps:
    """A pack; it stands in a copy of the model that shares the matrices."""
    own = another(backbone)
    modules = Modules(own, [layout(one) for one in trials])
    return Steps(packed(own, modules), [[theta] for theta in modules.thetas], batch)


def theirs(backbone: Backbone, lora: Trial, batch: Mapping[str, Tensor]) -> Steps:
    """PEFT's LoRA of the same rank, with its matrices in bf16, which is its fastest."""
    own, rank = another(backbone), lora.method.rank
    assert rank is not None
    opponent = peft_lora(own, layout(lora), rank)
    return Steps(packed(own, None), [opponent.parameters], batch)


def bare(backbone: Backbone, touched: Layout, batch: Mapping[str, Tensor]) -> Steps:
    """The frozen backbone: forward, and back through activations down to the lowest touched layer."""
    return Steps(floor_model(another(backbone), touched), [], batch)
