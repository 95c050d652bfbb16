"""One pack on a backbone, top to bottom: modules, training, rows of the store."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from copy import deepcopy

from torch import nn

from trials.failures import BAD_TRIAL, OUT_OF_MEMORY
from trials.modules.positions import Layout
from trials.pack import Pack
from trials.sources.folders import SPLITS
from workers.backbone import readout
from workers.backbone.full import trainable_backbone
from workers.backbone.load import Backbone
from workers.engines.engine import Engine, Group
from workers.gang.gang import ALONE, Gang
from workers.gang.short import ShortOfMemory
from workers.modules.kept import Kept
from workers.modules.model import PackModel
from workers.modules.modules import Modules
from workers.pack.checkpoint import Checkpoint
from workers.pack.loop import Job, train
from workers.pack.memory import OutOfMemoryError, give_back, hopeless, memory_named
from workers.pack.placed import Placed, place
from workers.pack.portions import Limits, chunks, half
from workers.pack.progress import Ended, Progress
from workers.pack.recorder import Recorder
from workers.pack.state import TrialState
from workers.pack.together import each
from workers.pack.untrained import Untrained
from workers.rows.batches import most_rows
from workers.rows.warm import PackData

NONE: Mapping[str, str] = {}
_log = logging.getLogger(__name__)


class PackRun:
    """The state of one pack while it runs.

    Args:
        pack: the trials.
        backbone: theirs, frozen.
        data: their rows.
        recorder: writes what becomes of them.
        limits: what memory was found to hold; what is learnt here is noted there.
        make_engine: an engine over a model and what its trials train.
        kept: for what lies below all modules, of this backbone and these rows.
        untrained: knows what the backbone answers with no module.
        gang: the ranks that run the pack together.
        hopeless: trials that memory has run out for, alone, before this run began anew, and what was said of it.
    """

    def __init__(
        self,
        pack: Pack,
        backbone: Backbone,
        data: PackData,
        recorder: Recorder,
        limits: Limits,
        make_engine: Callable[[nn.Module, Sequence[Group]], Engine],
        kept: Kept,
        untrained: Untrained,
        gang: Gang = ALONE,
        hopeless: Mapping[str, str] = NONE,
    ) -> None:
        self.pack, self.backbone, self.data, self.recorder = pack, backbone, data, recorder
        self.gang, self._hopeless = gang, hopeless
        self._make_engine, self._limits, self._kept, self._untrained = make_engine, limits, kept, untrained
        self.trial = pack.members[0].trial  # for what all members share
        self.step, self._scores = 0, dict[str, float]()
        self._said_fewer = False  # whether the last word was that so many trials are too many
        self._precision = backbone.precision  # ``full`` trains it in float32, whatever it is
        recorder.facts |= {
            "backbone_parameters": backbone.parameters,
            "weights_digest": backbone.weights_digest,
            "precision": self._precision,
            **data.columns,
        }

    @property
    def _bound(self) -> bool:
        """Whether ranks need each other inside a pass: for shards of weights, or of gradients as they come."""
        return self.backbone.sharded or (self.trial.method.name == "full" and self.pack.setup.zero_stage > 0)

    def trials(self, should_stop: Callable[[], bool]) -> Iterator[Progress]:
        """Run every trial of the pack, together as far as memory goes.

        Where it runs out although one row of one slice goes through at a time, or for what all trials hold (values,
        moments, best steps), the trials go on in two halves, one after the other, each from its last checkpoint. One
        that is alone then has failed.

        Yields:
            at every evaluation, and where trials fail.
        """
        failed = [
            self.recorder.failed(m, OutOfMemoryError(self._hopeless[m.trial.trial_id]), OUT_OF_MEMORY)
            for m in self.pack.members
            if m.trial.trial_id in self._hopeless
        ]
        placed, bad = self._placed()
        if failed or bad:
            yield self._progress([*failed, *bad])
        most = self._limits.trials
        waiting = chunks(placed, most)
        while waiting:
            part, *waiting = waiting
            limits = deepcopy(self._limits)
            try:
                with memory_named(), ExitStack() as stack:
                    reference = self._untrained.columns(
                        self.trial, self.backbone, self.data, self._limits.scoring, self._kept
                    )
                    self.recorder.facts |= reference
                    yield from self._train(self._job(part, stack, should_stop))
                continue
            except OutOfMemoryError as error:
                if lost := self._lost(part, error, limits, most):
                    yield self._progress(lost)
            # outside the handler: the traceback, which holds all that the part has built, is gone by now
            self._kept.clear()
            give_back()
            if len(part) > 1:
                open_ids = {m.trial.trial_id for m in self.recorder.open()}
                waiting = [*chunks([x for x in part if x.trial_id in open_ids], self._limits.trials), *waiting]

    def _lost(self, part: Sequence[Placed], error: OutOfMemoryError, before: Limits, most: int) -> list[Ended]:
        """Fewer trials train together than those of a part that doesn't fit; one that was alone has failed.

        Args:
            part: the trials.
            error: what ran out.
            before: the limits that the part began with, of which ``most`` trials at a time.

        Raises:
            ShortOfMemory: it ran out on this rank, and the others can't know.
        """
        too_large: OutOfMemoryError | None = None
        if not error.halved:
            # what a part that is too large was squeezed to says nothing of smaller ones
            self._limits.training, self._limits.scoring = before.training, before.scoring
            # it may have been a single trial that its pack had no room for
            self._limits.trials = half(len(part)) if len(part) > 1 else most
            if len(part) > 1:
                _log.warning("out of memory: from here on at most %d trials train together", self._limits.trials)
            else:
                too_large = hopeless(error, self.recorder.device, "with one trial and one row at a time")
                too_large.__cause__ = error
        if not error.of_all and (self.gang.ranks > 1 or self._bound):
            alone = {part[0].trial_id: str(too_large)} if too_large else {}
            raise ShortOfMemory({**self._limits.plain(), "hopeless": alone}, str(error)) from error
        return [self.recorder.failed(part[0].member, too_large, OUT_OF_MEMORY)] if too_large else []

    def failed(self, error: Exception, failure_class: str) -> Progress:
        """Every trial that is open fails for the same reason."""
        return self._progress([self.recorder.failed(m, error, failure_class) for m in self.recorder.open()])

    def interrupted(self) -> Progress:
        """Every trial that is open goes on another time."""
        return self._progress([self.recorder.interrupted(m) for m in self.recorder.open()])

    def _progress(self, ended: list[Ended]) -> Progress:
        """What the caller sees now."""
        facts = self.recorder.facts
        return Progress(
            self.pack.pack_id,
            self.step,
            self.trial.training.steps,
            dict(self._scores),
            tuple(ended),
            facts["truncated_rows"],
            sum(facts[f"{split}_rows"] for split in SPLITS),
            self._size_learnt(),
        )

    def _size_learnt(self) -> int | None:
        """Fewer than this pack has, as long as no more fit; and what was planned, where it was one trial's fault."""
        fewer, before = self._limits.slices < len(self.pack.members), self._said_fewer
        self._said_fewer = fewer
        if fewer:
            return self._limits.slices
        return max(self.pack.setup.pack_size, len(self.pack.members)) if before else None

    def _placed(self) -> tuple[list[Placed], list[Ended]]:
        """Where each trial's scalars sit; one that can't be placed, on whatever rank, fails alone."""
        self.gang.at("placing the trials")
        members = self.recorder.open()
        found = each(self.gang, members, lambda member: place(member, self.data.longest))
        failed = [(m, x) for m, x in zip(members, found, strict=True) if isinstance(x, Exception)]
        return (
            [x for x in found if isinstance(x, Placed)],
            [self.recorder.failed(member, error, BAD_TRIAL) for member, error in failed],
        )

    def _job(self, part: Sequence[Placed], stack: ExitStack, should_stop: Callable[[], bool]) -> Job:
        """Build what each trial trains, and the engine that trains it; ``stack`` undoes it all."""
        states = [TrialState(x.member, slot) for slot, x in enumerate(part)]
        layouts = [x.layout for x in part if x.layout is not None]
        modules = Modules(self.backbone, layouts) if layouts else None
        if modules is None:
            self._kept.clear()  # it trains all, and needs the memory
            trained = [stack.enter_context(trainable_backbone(self.backbone.model))]
        else:
            stack.callback(modules.close)
            trained = [[theta] for theta in modules.thetas]
        read = readout.make(self.trial, self.data.task, self.backbone, len(states))
        for state, params, weight in zip(states, trained, read.weights, strict=False):
            if isinstance(weight, nn.Parameter):
                params.append(weight)
                state.head_parameters = weight.numel()
        mixed = modules is None and self._precision == "bf16"
        holders = self.gang if self._bound else ALONE
        again = self.pack.setup.recompute
        model = PackModel(
            self.backbone, modules, read.weights or None, read.label_words, mixed, self._kept, holders, again
        )
        rates = [c.member.trial.learning_rate for c in states]
        engine = self._make_engine(model, [Group(*pair) for pair in zip(trained, rates, strict=True)])
        stack.callback(engine.close)
        self.recorder.facts |= {
            "devices": engine.ranks,
            "ranks": engine.ranks,
            "zero_stage": engine.zero_stage,
            "offload": engine.offload,
            "recompute": again,
        }
        for state, placed in zip(states, part, strict=True):
            self._resume(state, placed, engine)
        return Job(
            model=model,
            engine=engine,
            states=states,
            training=self.trial.training,
            train_seed=self.trial.train_seed,
            train=self.data.train,
            validation=self.data.validation,
            test=self.data.test,
            limits=self._limits,
            targets=self.data.targets,
            save=lambda states: self._save(engine, states),
            should_stop=should_stop,
            checkpoint_s=self.pack.setup.checkpoint_s,
            gang=self.gang,
            sharded=self._bound,
        )

    def _train(self, job: Job) -> Iterator[Progress]:
        try:
            for step, ended in train(job):
                self.step = step
                self._note(job)
                self._scores |= {c.trial_id: c.curve[-1]["value"] for c in job.states if c.curve}
                yield self._progress([self._finished(state) for state in ended])
        finally:
            self._note(job)

    def _finished(self, state: TrialState) -> Ended:
        """Write a trial's row, and let go of what only that needed."""
        ended = self.recorder.finished(state)
        state.best = []
        return ended

    def _note(self, job: Job) -> None:
        """How the trials ran whose rows are written from now on; no micro-batch where whole batches fit."""
        rows, whole = self._limits.rows, most_rows(self.trial.training.batch_size, self.gang)
        self.recorder.facts |= {
            "pack_size": min(self._limits.slices, len(job.states)),
            "micro_batch": rows if rows < whole else None,
        }

    def _save(self, engine: Engine, states: Sequence[TrialState]) -> None:
        """Checkpoints of the trials that still train; ``full`` has none, it is as large as its backbone."""
        for state in states:
            if state.member.trial.method.name != "full":
                checkpoint = state.checkpoint(engine.values(state.slot), engine.state(state.slot))
                self.recorder.save(state.trial_id, checkpoint.to_bytes())

    def _resume(self, state: TrialState, placed: Placed, engine: Engine) -> None:
        """Take up what was saved of a trial, if anything was."""
        saved = self._saved(state.trial_id, placed.layout)
        if saved is not None:
            state.resume(saved)
            engine.set_values(state.slot, saved.tensors)
            engine.load_state(state.slot, saved.optimizer)

    def _saved(self, trial_id: str, placed: Layout | None) -> Checkpoint | None:
        """A trial's checkpoint; one that can't be used is none: the trial begins anew."""
        data = self.gang.of_first(self.recorder.saved(trial_id))
        try:
            found = Checkpoint.from_bytes(data) if data else None
            if found is not None:
                found.check(trial_id, None if placed is None else placed.count)
            return found
        except ValueError as error:
            file = self.recorder.checkpoint_file(trial_id)
            _log.warning("trial %s begins anew, for its checkpoint %s can't be used: %s", trial_id, file, error)
            return None
