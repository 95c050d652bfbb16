"""The training loop of a pack: K trials, one frozen backbone, the same batches.

The gradients of different trials never mix: the losses are summed, so each slice's gradient has factor 1, and
clipping, divergence, best step and end are each trial's own. Nothing branches on the sum.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trials.trial import Training
from workers.engines.engine import Engine
from workers.modules.model import PackModel
from workers.pack.evaluate import Scores, evaluate
from workers.pack.micro_batches import MicroBatches
from workers.pack.state import TrialState, finite
from workers.rows.ahead import Ahead
from workers.rows.batches import Batch, bucket, parts, stream
from workers.rows.encode import Dataset

CLIP = 1.0  # gradient norm per trial (PAPER, where the paper is silent)


class Interrupted(Exception):
    """The pack was asked to stop; its checkpoints are written."""


@dataclass
class Job:
    """All that one pack trains with.

    Args:
        states: one per trial, in the order of the slices.
        train, validation, test: encoded rows.
        targets: encoded test rows of other tasks, for zero-shot scores.
        save: writes the checkpoint of the trials that still train.
        micro_batch: rows of a batch that go through at once at most, None for all of them; the numbers are the same.
    """

    model: PackModel
    engine: Engine
    states: Sequence[TrialState]
    training: Training
    train_seed: int
    train: Dataset
    validation: Dataset
    test: Dataset
    targets: Mapping[str, Dataset] = field(default_factory=dict)
    save: Callable[[Sequence[TrialState]], None] = lambda states: None
    should_stop: Callable[[], bool] = lambda: False
    micro_batch: int | None = None
    micro: MicroBatches = field(init=False)

    def __post_init__(self) -> None:
        size = self.training.batch_size
        self.micro = MicroBatches(min(self.micro_batch or size, size))

    @property
    def active(self) -> list[TrialState]:
        """The trials that still train."""
        return [c for c in self.states if c.outcome is None]


def train(job: Job) -> Iterator[tuple[int, list[TrialState]]]:
    """Train to the end, evaluation by evaluation.

    Yields:
        the step, and the trials that ended there, with their test scores.

    Raises:
        Interrupted: ``should_stop`` said so between two batches; checkpoints are written first.
    """
    training, step = job.training, job.states[0].steps_done
    if training.steps == 0:
        for state in job.states:
            _count(job, state)
        yield 0, _evaluate(job, 0)
        return
    device = job.model.device
    rows = stream(job.train, job.train_seed, training.batch_size, start=step, multiple=bucket(device))
    batches = Ahead(rows, device)
    while job.active:
        if job.should_stop():
            job.save(job.active)
            raise Interrupted
        step += 1
        _step(job, step, next(batches), meanwhile=batches.prepare)
        due = step == training.steps or (training.eval_every and step % training.eval_every == 0)
        if due or not job.active:
            yield step, _evaluate(job, step)
            if job.active:
                job.save(job.active)


def _step(job: Job, step: int, batch: Batch, meanwhile: Callable[[], None] = lambda: None) -> None:
    """One step of every trial that still trains.

    What became of each is read once, after all is started: nothing before waits for the device, and ``meanwhile``
    runs beside it.
    """
    start = time.perf_counter()
    active = job.active
    _use(job, active)
    losses_K = job.micro.fit(lambda rows: _gradients(job, batch, rows), undo=job.engine.reset)
    for state in active:
        _count(job, state)
    norms_K = job.engine.clip([state.slot for state in active], CLIP)
    job.engine.step()
    meanwhile()
    losses, norms = torch.stack([losses_K, norms_K]).tolist()
    seconds = (time.perf_counter() - start) / len(active)
    for state, loss, norm in zip(active, losses, norms, strict=True):
        if finite(loss, norm):
            state.trained(loss, seconds, batch.tokens)
        else:
            state.diverged(step)
            job.engine.drop(state.slot)


def _gradients(job: Job, batch: Batch, rows: int) -> Tensor:
    """[K] losses of the active trials on the whole batch, and their gradients, from parts of at most ``rows`` rows."""
    total_K, shares = torch.zeros(len(job.active), device=job.model.device), parts(batch, rows)
    for number, (tensors, share) in enumerate(shares, start=1):
        losses_K = job.engine.losses(tensors) * share
        job.engine.backward(losses_K.sum(), last=number == len(shares))
        total_K += losses_K.detach()
    return total_K


def _count(job: Job, state: TrialState) -> None:
    """Count once what trains, as the optimiser holds it: what a gradient reaches (of ``full`` that isn't all)."""
    if state.count_actual is not None:
        return
    counted = job.engine.count(state.slot, reached=job.training.steps > 0)
    state.count_actual = counted - state.head_parameters
    asked = state.member.trial.method.count
    assert asked in (None, state.count_actual), f"{state.count_actual} scalars in the optimiser, {asked} asked for"


def _evaluate(job: Job, step: int) -> list[TrialState]:
    """Validation of the trials that train, then the test of those that end here, at their best step."""
    active = job.active
    if active:
        start = time.perf_counter()
        _use(job, active)
        scores = _scores(job, job.validation)
        seconds = (time.perf_counter() - start) / len(active)
        for state, score in zip(active, scores, strict=True):
            if state.evaluated(step, score.score, job.validation.metric, seconds):
                state.best = job.engine.values(state.slot)
            if state.outcome is not None:
                job.engine.drop(state.slot)
    ended = [c for c in job.states if c.outcome is not None and not c.reported]
    for state in ended:
        state.reported = True
    scored = [c for c in ended if c.best]
    if scored:
        _test(job, scored)
    return ended


def _test(job: Job, states: Sequence[TrialState]) -> None:
    """Test and transfer scores at each trial's best step."""
    start = time.perf_counter()
    _use(job, states)
    for state in states:
        job.engine.set_values(state.slot, state.best)
    for state, scores in zip(states, _scores(job, job.test), strict=True):
        state.test_score, state.metrics = scores.score, scores.metrics
    for task, target in job.targets.items():
        for state, scores in zip(states, _scores(job, target), strict=True):
            state.transfer[task] = scores.score
    seconds = (time.perf_counter() - start) / len(states)
    for state in states:
        state.eval_s += seconds


def _scores(job: Job, data: Dataset) -> list[Scores]:
    """One score per trial in use."""
    return job.micro.fit(lambda rows: evaluate(job.model, data, rows))


def _use(job: Job, states: Sequence[TrialState]) -> None:
    """These trials are the slices of the next passes."""
    if job.model.modules_K is not None:
        job.model.modules_K.active = [c.slot for c in states]
