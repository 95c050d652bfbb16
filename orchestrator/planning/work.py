"""The work of a trial in floating-point operations, by arithmetic on shapes.

A token costs two operations for every weight that it goes through: in T5 the text's tokens go through the encoder and
through the keys and values of cross-attention, the target's through the rest of the decoder; the output layer is
computed where a target token is predicted. Embeddings are look-ups and cost nothing; the scores of attention, a few
per cent at these lengths, are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from trials import tasks
from trials.modules.sites import sites_of
from trials.sweep.acting import evaluations
from trials.trial import Shape, Trial

UNKNOWN_ROWS = 1000  # of a split that the sweep doesn't limit: its size is known once the data is read
_MEMORY = ("cross_k", "cross_v")  # layers of a decoder that read the encoder's output


def flops(trial: Trial, recompute: bool = False) -> float:
    """Operations of a trial: forward and back once each, the gradients of weights too for ``full``, and evaluation.

    With ``recompute`` once more forward.

    Evaluation is a forward pass on validation at every evaluation, and once on the test rows of every task that is
    scored. Soft tokens lengthen every row.
    """
    settings = trial.training
    passes = (3 if trial.method.name == "full" else 2) + recompute  # forward, back, and the gradients of weights
    rows = [(trial.task.name, settings.steps * settings.batch_size * passes), *scored(trial)]
    return sum(n * _row_flops(trial, task) for task, n in rows)


def _row_flops(trial: Trial, task: str) -> float:
    """Operations of one row of a task going forward."""
    family, of = trial.backbone.family, tasks.get(task)
    text, target, head = _weights(family, trial.backbone.shape)
    soft = trial.method.tokens or 0
    if family == "bert":
        return 2.0 * (text * (of.row_tokens + soft) + head)  # at the mask
    if family == "bloom":
        return 2.0 * (text * (of.row_tokens + soft) + head * of.target_tokens)
    inputs = of.row_tokens - of.target_tokens + soft
    return 2.0 * (text * inputs + (target + head) * of.target_tokens)


@lru_cache(maxsize=64)
def _weights(family: str, shape: Shape) -> tuple[int, int, int]:
    """Weights that multiply every token of the text, in T5 every token of the target, and in the output layer."""
    matrices = [site for site in sites_of(family, shape) if site.kind != "norm"]
    targets = [s for s in matrices if family == "t5" and s.stack == "decoder" and s.kind not in _MEMORY]
    every, later = (sum(s.d_in * s.d_out for s in some) for some in (matrices, targets))
    transform = shape.d_model**2 if family == "bert" else 0
    return every - later, later, shape.vocab * shape.d_model + transform if shape.lm_head else 0


def batches(trial: Trial) -> tuple[float, float]:
    """Batches that are trained on, and batches that are scored."""
    settings = trial.training
    return settings.steps, sum(n for _, n in scored(trial)) / settings.batch_size


def scored(trial: Trial) -> Iterator[tuple[str, int]]:
    """Tasks, and how many of their rows are scored: validation at every evaluation, tests once."""
    settings = trial.training
    times = evaluations(settings.steps, settings.eval_every)
    yield trial.task.name, times * (trial.task.validation_rows or UNKNOWN_ROWS)
    yield from ((task.name, task.test_rows or UNKNOWN_ROWS) for task in (trial.task, *trial.evaluate_on))
