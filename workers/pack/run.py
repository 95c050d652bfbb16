"""One pack on one worker, top to bottom: backbone, rows, modules, training, rows of the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from torch import nn

from trials.modules.positions import Layout, layout
from trials.pack import Pack
from trials.sources.folders import SPLITS
from trials.store.record import Record
from workers import faults
from workers.backbone import readout
from workers.backbone.full import fingerprint, trainable_backbone
from workers.backbone.load import Backbone
from workers.engines import choice
from workers.engines.engine import Engine, Group
from workers.environment import precision_of
from workers.modules import soft_tokens
from workers.modules.model import PackModel
from workers.modules.modules import Modules
from workers.pack.checkpoint import Checkpoint
from workers.pack.loop import Job, train
from workers.pack.progress import Ended, Progress
from workers.pack.recorder import Recorder
from workers.pack.state import TrialState
from workers.rows.warm import PackData

if TYPE_CHECKING:
    from workers.worker import Worker


class PackRun:
    """The state of one pack while it runs; ``Worker.run`` turns its exceptions into rows."""

    def __init__(self, worker: Worker, pack: Pack) -> None:
        self.worker, self.pack = worker, pack
        self.trial = pack.members[0].trial  # for what all members share
        self.recorder = Recorder(worker, pack)
        self.states: list[TrialState] = []
        self.step = 0

    def trials(self, should_stop: Callable[[], bool]) -> Iterator[Progress]:
        """Run every trial of the pack.

        Yields:
            at every evaluation, and where trials fail before training.
        """
        backbone = self.worker.backbone(self.pack)
        data = self.worker.rows(self.pack, backbone)
        self.recorder.facts = self._facts(backbone, data)
        before = fingerprint(backbone.model)
        try:
            with ExitStack() as stack:
                layouts, failed = self._layouts(data)
                if failed:
                    yield self.progress(failed)
                if layouts:
                    yield from self._train(self._job(backbone, data, layouts, stack, should_stop))
        finally:
            if fingerprint(backbone.model) != before:
                self.worker.forget()  # never train on a backbone that isn't the one named

    def progress(self, ended: list[Ended]) -> Progress:
        """What the caller sees now."""
        scores = {c.trial_id: c.curve[-1]["value"] for c in self.states if c.curve}
        facts = self.recorder.facts
        cut, rows = facts.get("truncated_rows", 0), sum(facts.get(f"{split}_rows", 0) for split in SPLITS)
        return Progress(self.pack.pack_id, self.step, self.trial.training.steps, scores, tuple(ended), cut, rows)

    def _layouts(self, data: PackData) -> tuple[list[Layout | None], list[Ended]]:
        """Where each trial's scalars sit (None for ``full``); one that can't be placed fails alone."""
        longest = max(int(x.lengths.max()) for x in (data.train, data.validation, data.test, *data.targets.values()))
        layouts: list[Layout | None] = []
        failed: list[Ended] = []
        for member in self.pack.members:
            try:
                faults.maybe_fail(member.trial.trial_id)
                placed = None if member.trial.method.name == "full" else layout(member.trial)
                if placed is not None:
                    soft_tokens.check_room(placed, member.trial.backbone, longest)
                layouts.append(placed)
                self.states.append(TrialState(member, len(self.states), []))
            except Exception as error:
                failed.append(self.recorder.failed(member, error))
        return layouts, failed

    def _job(
        self,
        backbone: Backbone,
        data: PackData,
        layouts: Sequence[Layout | None],
        stack: ExitStack,
        should_stop: Callable[[], bool],
    ) -> Job:
        """Build what each trial trains, and the engine that trains it; ``stack`` undoes it all."""
        placed = [x for x in layouts if x is not None]
        modules = Modules(backbone, placed) if placed else None
        if modules is None:
            self.states[0].params = stack.enter_context(trainable_backbone(backbone.model))
        else:
            stack.callback(modules.close)
            for state, theta in zip(self.states, modules.thetas, strict=True):
                state.params = [theta]
        read = readout.make(self.trial, data.task, backbone, len(self.states))
        for state, weight in zip(self.states, read.weights, strict=False):
            if isinstance(weight, nn.Parameter):
                state.params, state.head_parameters = [*state.params, weight], weight.numel()
        mixed = modules is None and precision_of(self.trial.training.precision, self.worker.device) == "bf16"
        model = PackModel(backbone, modules, read.weights or None, read.label_words, mixed)
        groups = [Group(c.params, c.member.trial.learning_rate) for c in self.states]
        engine = choice.make(self.worker.engine, model, groups)
        stack.callback(engine.close)
        self.recorder.facts |= {"zero_stage": engine.zero_stage, "offload": engine.offload}
        self._resume(engine)
        return Job(
            model=model,
            engine=engine,
            states=self.states,
            training=self.trial.training,
            train_seed=self.trial.train_seed,
            train=data.train,
            validation=data.validation,
            test=data.test,
            targets=data.targets,
            save=lambda states: self._save(engine, states),
            should_stop=should_stop,
            micro_batch=self.pack.setup.micro_batch,
        )

    def _train(self, job: Job) -> Iterator[Progress]:
        for step, ended in train(job):
            self.step = step
            yield self.progress([self.recorder.finished(state) for state in ended])

    def _save(self, engine: Engine, states: Sequence[TrialState]) -> None:
        """Checkpoints of the trials that still train; ``full`` has none, it is as large as its backbone."""
        for state in states:
            if state.member.trial.method.name != "full":
                data = state.checkpoint(engine.state(state.slot)).to_bytes()
                self.worker.store.save_checkpoint(state.trial_id, data)

    def _resume(self, engine: Engine) -> None:
        """Go on where an interrupted pack was, if all its trials were at the same step."""
        saved = [self.worker.store.load_checkpoint(c.trial_id) for c in self.states]
        checkpoints = [Checkpoint.from_bytes(data) for data in saved if data]
        if len(checkpoints) < len(saved) or len({c.step for c in checkpoints}) > 1:
            return
        for state, checkpoint in zip(self.states, checkpoints, strict=True):
            state.resume(checkpoint)
            engine.load_state(state.slot, checkpoint.optimizer)

    def _facts(self, backbone: Backbone, data: PackData) -> Record:
        """Columns that every row of the pack shares, once backbone and data are there."""
        return {
            "backbone_parameters": backbone.parameters,
            "weights_digest": backbone.weights_digest,
            "precision": precision_of(self.trial.training.precision, self.worker.device),
            **data.columns,
        }
