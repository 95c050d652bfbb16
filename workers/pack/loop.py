"""The training loop of a pack: K trials, one frozen backbone, the same batches.

The gradients of different trials never mix: the losses are summed, so each slice's gradient has factor 1, and
clipping, divergence, best step and end are each trial's own. Nothing branches on the sum.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import TypeVar

import torch
from torch import Tensor

from trials.trial import Training
from workers.engines.engine import Engine
from workers.gang.gang import ALONE, Gang
from workers.modules.model import PackModel
from workers.pack.evaluate import Answers, Scores, answers, gathered, graded
from workers.pack.portions import Limits, Portions
from workers.pack.state import TrialState, finite
from workers.rows.ahead import Ahead
from workers.rows.batches import Batch, bucket, parts, stream
from workers.rows.encode import Dataset

T = TypeVar("T")
CLIP = 1.0  # gradient norm per trial (PAPER, where the paper is silent)


class Interrupted(Exception):
    """The pack was asked to stop; its checkpoints are written."""


@dataclass
class Job:
    """All that one pack trains with.

    Args:
        states: one per trial, in the order of the slices.
        train, validation, test: encoded rows.
        limits: what goes through at once at most; the numbers are the same.
        targets: encoded test rows of other tasks, for zero-shot scores.
        save: writes the checkpoint of the trials that still train.
        should_stop: asked before each step; of ranks all stop where one is asked to.
        checkpoint_s: seconds of training between two checkpoints at most.
        gang: the ranks that train together, each on its part of every batch.
        sharded: whether they hold the weights together, and need each other in each pass.
    """

    model: PackModel
    engine: Engine
    states: Sequence[TrialState]
    training: Training
    train_seed: int
    train: Dataset
    validation: Dataset
    test: Dataset
    limits: Limits
    targets: Mapping[str, Dataset] = field(default_factory=dict)
    save: Callable[[Sequence[TrialState]], None] = lambda states: None
    should_stop: Callable[[], bool] = lambda: False
    checkpoint_s: float = math.inf
    gang: Gang = ALONE
    sharded: bool = False

    @property
    def active(self) -> list[TrialState]:
        """The trials that still train."""
        return [c for c in self.states if c.outcome is None]

    def before(self, step: int) -> list[TrialState]:
        """Those of them that take this step: a trial whose checkpoint is further waits for the others."""
        return [c for c in self.active if c.steps_done < step]

    def fit(
        self,
        portions: Portions,
        states: Sequence[TrialState],
        work: Callable[[Sequence[TrialState], int], Iterable[T]],
        undo: Callable[[], None] = lambda: None,
    ) -> list[T]:
        """See :class:`Portions`: the work on these trials in as many passes as all ranks need."""
        return portions.fit(states, work, undo, self.model.let_go, self.gang, self.sharded)


def train(job: Job) -> Iterator[tuple[int, list[TrialState]]]:
    """Train to the end, evaluation by evaluation.

    Yields:
        the step, and the trials that ended there, with their test scores.

    Raises:
        Interrupted: ``should_stop`` said so between two batches; checkpoints are written first.
    """
    training, saved = job.training, perf_counter()
    if training.steps == 0:
        for state in job.states:
            _count(job, state)
        yield 0, _evaluate(job, 0, job.states)
        return
    batches, step = _from(job)
    while job.active:
        if job.gang.any(job.should_stop()):
            job.save(job.active)
            raise Interrupted
        if not job.before(step + 1):  # those that the others waited for have ended
            batches, step = _from(job)
        step += 1
        taking = job.before(step)
        _step(job, step, next(batches), meanwhile=batches.prepare)
        due = step == training.steps or bool(training.eval_every and step % training.eval_every == 0)
        if due or not job.active:
            yield step, _evaluate(job, step, [c for c in taking if c.outcome is None])
        if job.gang.any(due or perf_counter() - saved >= job.checkpoint_s):
            job.save([c for c in taking if c.outcome is None])
            saved = perf_counter()


def _from(job: Job) -> tuple[Ahead, int]:
    """The batches behind the last step that all trials that train have done, and that step."""
    step, device = min(c.steps_done for c in job.active), job.model.device
    rows = stream(job.train, job.train_seed, job.training.batch_size, start=step, multiple=bucket(device))
    return Ahead(rows, device), step


def _step(job: Job, step: int, batch: Batch, meanwhile: Callable[[], None] = lambda: None) -> None:
    """One step of every trial that still trains.

    What became of each is read once, after all is started: nothing before waits for the device, and ``meanwhile``
    runs beside it.
    """
    start = perf_counter()
    active = job.before(step)
    job.gang.at(f"step {step} of {job.training.steps}")

    def gradients(some: Sequence[TrialState], rows: int) -> Tensor:
        return _gradients(job, some, batch, rows, last=some[-1] is active[-1])

    mine_K = torch.stack(job.fit(job.limits.training, active, gradients, job.engine.reset))
    losses_K = job.engine.reduce(mine_K)
    for state in active:
        _count(job, state)
    norms_K = job.engine.clip([state.slot for state in active], CLIP)
    job.engine.step()
    meanwhile()
    losses, norms = torch.stack([losses_K, norms_K]).tolist()
    seconds = (perf_counter() - start) / len(active)
    for state, loss, norm in zip(active, losses, norms, strict=True):
        if finite(loss, norm):
            state.trained(loss, seconds, batch.tokens)
        else:
            state.diverged(step)
            job.engine.drop(state.slot)


def _gradients(job: Job, states: Sequence[TrialState], batch: Batch, rows: int, last: bool = True) -> Tensor:
    """[K] losses of the trials on this rank's part of the batch, and their gradients, ``rows`` rows at a time.

    Over all ranks they add up to those on the whole batch.
    """
    _use(job, states)
    total_K, shares = torch.zeros(len(states), device=job.model.device), parts(batch, rows, job.gang)
    for number, (tensors, share) in enumerate(shares, start=1):
        losses_K = job.engine.losses(tensors) * share
        job.engine.backward(losses_K.sum(), last=last and number == len(shares))
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


def _evaluate(job: Job, step: int, states: Sequence[TrialState]) -> list[TrialState]:
    """Validation of the trials that took the step, then the test of those that have ended, at their best step."""
    if states:
        start = perf_counter()
        job.gang.at(f"validation at step {step}")
        scores = _scores(job, states, job.validation)
        seconds = (perf_counter() - start) / len(states)
        for state, score in zip(states, scores, strict=True):
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
    """Test and transfer scores at each trial's best step, and the answers that they are of."""
    start = perf_counter()
    for state in states:
        job.engine.set_values(state.slot, state.best)
    job.gang.at("test")
    for state, scores in zip(states, _scores(job, states, job.test, secondary=True), strict=True):
        state.test_score, state.metrics = scores.score, scores.metrics
        state.answered[state.member.trial.task.name] = scores.answered
    for task, target in job.targets.items():
        for state, scores in zip(states, _scores(job, states, target), strict=True):
            state.transfer[task], state.answered[task] = scores.score, scores.answered
    seconds = (perf_counter() - start) / len(states)
    for state in states:
        state.eval_s += seconds


def _scores(job: Job, states: Sequence[TrialState], data: Dataset, secondary: bool = False) -> list[Scores]:
    """One score per trial; secondary metrics of the test alone, for nobody reads others."""

    def given(some: Sequence[TrialState], rows: int) -> list[Answers]:
        _use(job, some)
        return answers(job.model, data, rows, job.gang)

    mine_K = job.fit(job.limits.scoring, states, given)
    return graded(gathered(mine_K, job.gang), data, secondary)


def _use(job: Job, states: Sequence[TrialState]) -> None:
    """These trials are the slices of the next passes."""
    if job.model.modules_K is not None:
        job.model.modules_K.active = [c.slot for c in states]
