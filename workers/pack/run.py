"""One pack on a backbone, top to bottom: modules, training, rows of the store."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

from safetensors import SafetensorError
from torch import nn

from trials.failures import BAD_TRIAL
from trials.modules.positions import Layout, layout
from trials.pack import Pack
from trials.sources.folders import SPLITS
from workers import faults
from workers.backbone import readout
from workers.backbone.full import trainable_backbone
from workers.backbone.load import Backbone
from workers.engines.engine import Engine, Group
from workers.modules import soft_tokens
from workers.modules.model import PackModel
from workers.modules.modules import Modules
from workers.pack.checkpoint import Checkpoint
from workers.pack.loop import Job, train
from workers.pack.progress import Ended, Progress
from workers.pack.recorder import Recorder
from workers.pack.state import TrialState
from workers.rows.warm import PackData

_log = logging.getLogger(__name__)


class PackRun:
    """The state of one pack while it runs.

    Args:
        pack: the trials.
        backbone: theirs, frozen.
        data: their rows.
        recorder: writes what becomes of them.
        make_engine: an engine over a model and what its trials train.
    """

    def __init__(
        self,
        pack: Pack,
        backbone: Backbone,
        data: PackData,
        recorder: Recorder,
        make_engine: Callable[[nn.Module, Sequence[Group]], Engine],
    ) -> None:
        self.pack, self.backbone, self.data, self.recorder = pack, backbone, data, recorder
        self._make_engine = make_engine
        self.trial = pack.members[0].trial  # for what all members share
        self.states: list[TrialState] = []
        self.step = 0
        self._precision = backbone.precision  # ``full`` trains it in float32, whatever it is
        recorder.facts |= {
            "backbone_parameters": backbone.parameters,
            "weights_digest": backbone.weights_digest,
            "precision": self._precision,
            **data.columns,
        }

    def trials(self, should_stop: Callable[[], bool]) -> Iterator[Progress]:
        """Run every trial of the pack.

        Yields:
            at every evaluation, and where trials fail before training.
        """
        layouts, failed = self._layouts()
        if failed:
            yield self._progress(failed)
        if layouts:
            with ExitStack() as stack:
                yield from self._train(self._job(layouts, stack, should_stop))

    def failed(self, error: Exception, failure_class: str) -> Progress:
        """Every trial that is open fails for the same reason."""
        return self._progress([self.recorder.failed(m, error, failure_class) for m in self.recorder.open()])

    def interrupted(self) -> Progress:
        """Every trial that is open goes on another time."""
        return self._progress([self.recorder.interrupted(m) for m in self.recorder.open()])

    def _progress(self, ended: list[Ended]) -> Progress:
        """What the caller sees now."""
        scores = {c.trial_id: c.curve[-1]["value"] for c in self.states if c.curve}
        facts = self.recorder.facts
        cut, rows = facts["truncated_rows"], sum(facts[f"{split}_rows"] for split in SPLITS)
        return Progress(self.pack.pack_id, self.step, self.trial.training.steps, scores, tuple(ended), cut, rows)

    def _layouts(self) -> tuple[list[Layout | None], list[Ended]]:
        """Where each trial's scalars sit (None for ``full``); one that can't be placed fails alone."""
        data = self.data
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
                self.states.append(TrialState(member, len(self.states)))
            except Exception as error:
                failed.append(self.recorder.failed(member, error, BAD_TRIAL))
        return layouts, failed

    def _job(self, layouts: Sequence[Layout | None], stack: ExitStack, should_stop: Callable[[], bool]) -> Job:
        """Build what each trial trains, and the engine that trains it; ``stack`` undoes it all."""
        placed = [x for x in layouts if x is not None]
        modules = Modules(self.backbone, placed) if placed else None
        if modules is None:
            trained = [stack.enter_context(trainable_backbone(self.backbone.model))]
        else:
            stack.callback(modules.close)
            trained = [[theta] for theta in modules.thetas]
        read = readout.make(self.trial, self.data.task, self.backbone, len(self.states))
        for state, params, weight in zip(self.states, trained, read.weights, strict=False):
            if isinstance(weight, nn.Parameter):
                params.append(weight)
                state.head_parameters = weight.numel()
        mixed = modules is None and self._precision == "bf16"
        model = PackModel(self.backbone, modules, read.weights or None, read.label_words, mixed)
        rates = [c.member.trial.learning_rate for c in self.states]
        engine = self._make_engine(model, [Group(*pair) for pair in zip(trained, rates, strict=True)])
        stack.callback(engine.close)
        self.recorder.facts |= {
            "devices": engine.ranks,
            "ranks": engine.ranks,
            "zero_stage": engine.zero_stage,
            "offload": engine.offload,
        }
        self._resume(engine)
        return Job(
            model=model,
            engine=engine,
            states=self.states,
            training=self.trial.training,
            train_seed=self.trial.train_seed,
            train=self.data.train,
            validation=self.data.validation,
            test=self.data.test,
            targets=self.data.targets,
            save=lambda states: self._save(engine, states),
            should_stop=should_stop,
            micro_batch=self.pack.setup.micro_batch,
        )

    def _train(self, job: Job) -> Iterator[Progress]:
        batch = self.trial.training.batch_size
        try:
            for step, ended in train(job):
                self.step = step
                self._note(job.micro.rows, batch)
                yield self._progress([self.recorder.finished(state) for state in ended])
        finally:
            self._note(job.micro.rows, batch)

    def _note(self, rows: int, batch: int) -> None:
        """The micro-batch of the rows that are written from now on; none where whole batches fit."""
        self.recorder.facts["micro_batch"] = rows if rows < batch else None

    def _save(self, engine: Engine, states: Sequence[TrialState]) -> None:
        """Checkpoints of the trials that still train; ``full`` has none, it is as large as its backbone."""
        for state in states:
            if state.member.trial.method.name != "full":
                checkpoint = state.checkpoint(engine.values(state.slot), engine.state(state.slot))
                self.recorder.save(state.trial_id, checkpoint.to_bytes())

    def _resume(self, engine: Engine) -> None:
        """Go on where an interrupted pack was, if all its trials were at the same step."""
        saved = [self._saved(c.trial_id) for c in self.states]
        checkpoints = [checkpoint for checkpoint in saved if checkpoint is not None]
        if len(checkpoints) < len(saved) or len({c.step for c in checkpoints}) > 1:
            return
        for state, checkpoint in zip(self.states, checkpoints, strict=True):
            state.resume(checkpoint)
            engine.set_values(state.slot, checkpoint.tensors)
            engine.load_state(state.slot, checkpoint.optimizer)

    def _saved(self, trial_id: str) -> Checkpoint | None:
        """A trial's checkpoint; one that can't be read is none: the trial begins anew."""
        data = self.recorder.saved(trial_id)
        try:
            return Checkpoint.from_bytes(data) if data else None
        except (SafetensorError, ValueError, KeyError) as error:
            _log.warning("trial %s begins anew, for its checkpoint is damaged: %s", trial_id, error)
            return None
