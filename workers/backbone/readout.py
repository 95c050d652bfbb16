"""How an encoder's pack reads labels off: label words at the mask, or a head of each trial's own."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn

from trials.errors import ApetError
from trials.tasks.spec import Task
from trials.trial import Trial
from workers.backbone import heads
from workers.backbone.load import Backbone


@dataclass(frozen=True)
class Readout:
    """``weights``: [c, d] a trial, parameters where trained; ``label_words``: c token ids; neither for generators."""

    weights: list[Tensor] = field(default_factory=list)
    label_words: list[int] | None = None


def make(trial: Trial, task: Task, backbone: Backbone, n: int) -> Readout:
    """The readout of ``n`` trials that share the head of ``trial``.

    Raises:
        ApetError: a verbalizer without a masked-language-model head, or label words that aren't single tokens.
    """
    if trial.head is None:
        return Readout()
    if trial.head == "verbalizer":
        if not trial.backbone.shape.lm_head:
            raise ApetError(
                f"head 'verbalizer' needs a masked-language-model head, and {trial.backbone.name} has none; "
                "use head: frozen or trained"
            )
        return Readout(label_words=heads.label_word_ids(task, trial.labels, trial.backbone.family, backbone.tokenizer))
    scale = trial.backbone.head_scale
    assert scale is not None, "an encoder without a language-model head has a head scale"
    n_labels = len(heads.label_words(task, trial.labels, trial.backbone.family))
    weight = heads.frozen_head(n_labels, trial.backbone.shape.d_model, scale, trial.train_seed).to(backbone.device)
    if trial.head == "trained":
        return Readout([nn.Parameter(weight.clone()) for _ in range(n)])
    return Readout([weight] * n)
