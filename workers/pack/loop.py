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
from workers.engines import Engine
from workers.modules.model import PackModel
from workers.pack.evaluate import Scores, evaluate
from workers.pack.micro_batches import Room
from workers.pack.state import Course, finite
from workers.rows.batches import Batch, parts, stream
from workers.rows.encode import Dataset

CLIP = 1.0  # gradient norm per trial (PAPER, where the paper is silent)


class Interrupted(Exception):
    """The pack was asked to stop; its checkpoints are written."""


@dataclass
class Job:
    """All that one pack trains with.

    Args:
        courses: one per trial, in the order of the slices.
        train, validation, test: encoded rows.
        targets: encoded test rows of other tasks, for zero-shot scores.
        save: writes the checkpoint of the trials that still train.
        micro_batch: rows of a batch that go through at once at most, None for all of them; the numbers are the same.
    """

    model: PackModel
    engine: Engine
    courses: Sequence[Course]
    training: Training
    train_seed: int
    train: Dataset
    validation: Dataset
    test: Dataset
    targets: Mapping[str, Dataset] = field(default_factory=dict)
    save: Callable[[Sequence[Course]], None] = lambda courses: None
    should_stop: Callable[[], bool] = lambda: False
    micro_batch: int | None = None
    room: Room = field(init=False)

    def __post_init__(self) -> None:
        size = self.training.batch_size
        self.room = Room(min(self.micro_batch or size, size))

    @property
    def active(self) -> list[Course]:
        """The trials that still train."""
        return [c for c in self.courses if c.state is None]


def train(job: Job) -> Iterator[tuple[int, list[Course]]]:
    """Train to the end, evaluation by evaluation.

    Yields:
        the step, and the trials that ended there, with their test scores.

    Raises:
        Interrupted: ``should_stop`` said so between two batches; checkpoints are written first.
    """
    training, step = job.training, job.courses[0].steps_done
    if training.steps == 0:
        for course in job.courses:
            _count(job, course)
        yield 0, _evaluate(job, 0)
        return
    batches = stream(job.train, job.train_seed, training.batch_size, start=step)
    while job.active:
        if job.should_stop():
            job.save(job.active)
            raise Interrupted
        step += 1
        _step(job, step, next(batches))
        due = step == training.steps or (training.eval_every and step % training.eval_every == 0)
        if due or not job.active:
            yield step, _evaluate(job, step)
            if job.active:
                job.save(job.active)


def _step(job: Job, step: int, batch: Batch) -> None:
    """One step of every trial that still trains."""
    start = time.perf_counter()
    active = job.active
    _use(job, active)
    losses = job.room.fit(lambda rows: _gradients(job, batch, rows), undo=lambda: _forget(active))
    for course, loss in zip(active, losses, strict=True):
        _count(job, course)
        gradients = [p for p in course.params if p.grad is not None]
        if not finite(loss, float(torch.nn.utils.clip_grad_norm_(gradients, CLIP))):
            course.diverged(step)
            job.engine.drop(course.slot)
    job.engine.step()
    seconds = (time.perf_counter() - start) / len(active)
    for course, loss in zip(active, losses, strict=True):
        if course.state is None:
            course.trained(loss, seconds, batch.tokens)


def _gradients(job: Job, batch: Batch, rows: int) -> list[float]:
    """Every active trial's loss on the whole batch, and its gradients, from parts of at most ``rows`` rows."""
    total_K, shares = torch.zeros(len(job.active)), parts(batch, rows)
    for number, (tensors, share) in enumerate(shares, start=1):
        losses_K = job.engine.losses(to_device(tensors, job.model.device)) * share
        job.engine.backward(losses_K.sum(), last=number == len(shares))
        total_K += losses_K.detach().cpu()
    losses: list[float] = total_K.tolist()
    return losses


def _forget(courses: Sequence[Course]) -> None:
    """Clear the gradients that a pass which failed left."""
    for course in courses:
        for p in course.params:
            p.grad = None


def _count(job: Job, course: Course) -> None:
    """Read once what trains: the tensors of the optimiser's group, those with a gradient (``full`` has others)."""
    if course.count_actual is not None:
        return
    group = job.engine.groups()[course.slot]
    trained = [p for p in group if p.grad is not None or job.training.steps == 0]
    course.count_actual = sum(p.numel() for p in trained) - course.head_parameters
    asked = course.member.trial.method.count
    assert asked in (None, course.count_actual), f"{course.count_actual} scalars in the optimiser, {asked} asked for"


def _evaluate(job: Job, step: int) -> list[Course]:
    """Validation of the trials that train, then the test of those that end here, at their best step."""
    active = job.active
    if active:
        start = time.perf_counter()
        _use(job, active)
        scores = _scores(job, job.validation)
        seconds = (time.perf_counter() - start) / len(active)
        for course, score in zip(active, scores, strict=True):
            course.evaluated(step, score.score, job.validation.metric, seconds)
            if course.state is not None:
                job.engine.drop(course.slot)
    ended = [c for c in job.courses if c.state is not None and not c.reported]
    for course in ended:
        course.reported = True
    scored = [c for c in ended if c.best]
    if scored:
        _test(job, scored)
    return ended


def _test(job: Job, courses: Sequence[Course]) -> None:
    """Test and transfer scores at each trial's best step."""
    start = time.perf_counter()
    _use(job, courses)
    with torch.no_grad():
        for course in courses:
            for p, best in zip(course.params, course.best, strict=True):
                p.copy_(best)
    for course, scores in zip(courses, _scores(job, job.test), strict=True):
        course.test_score, course.metrics = scores.score, scores.metrics
    for task, target in job.targets.items():
        for course, scores in zip(courses, _scores(job, target), strict=True):
            course.transfer[task] = scores.score
    seconds = (time.perf_counter() - start) / len(courses)
    for course in courses:
        course.eval_s += seconds


def _scores(job: Job, data: Dataset) -> list[Scores]:
    """One score per trial in use."""
    return job.room.fit(lambda rows: evaluate(job.model, data, rows))


def _use(job: Job, courses: Sequence[Course]) -> None:
    """These trials are the slices of the next passes."""
    if job.model.modules_K is not None:
        job.model.modules_K.active = [c.slot for c in courses]


def to_device(tensors: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """A batch where the model is."""
    return {name: x.to(device, non_blocking=True) for name, x in tensors.items()}
