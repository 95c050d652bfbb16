"""One pack on a backbone, top to bottom: modules, training, rows of the store."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from torch import nn

from trials.failures import BAD_TRIAL, InfrastructureError
from trials.modules.positions import Layout, layout
from trials.pack import Pack
from trials.sources.folders import SPLITS
from workers import faults
from workers.backbone import readout
from workers.backbone.full import trainable_backbone
from workers.backbone.load import Backbone
from workers.engines.engine import Engine, Group
from workers.modules import soft_tokens
from workers.modules.kept import Kept
from workers.modules.model import PackModel
from workers.modules.modules import Modules
from workers.pack.checkpoint import Checkpoint
from workers.pack.loop import Job, train
from workers.pack.progress import Ended, Progress
from workers.pack.recorder import Recorder
from workers.pack.state import TrialState
from workers.rows.warm import PackData

_log = logging.getLogger(__name__)


@dataclass
class Slice:
    """One trial of those that train together: where its scalars sit (None for ``full``), and where it goes on."""

    state: TrialState
    layout: Layout | None
    saved: Checkpoint | None

    def resume(self, engine: Engine) -> None:
        """Take up what was saved, once the engine has what the trial trains."""
        if self.saved is not None:
            self.state.resume(self.saved)
            engine.set_values(self.state.slot, self.saved.tensors)
            engine.load_state(self.state.slot, self.saved.optimizer)
            self.saved = None  # it is as large as what trains


class PackRun:
    """The state of one pack while it runs.

    Args:
        pack: the trials.
        backbone: theirs, frozen.
        data: their rows.
        recorder: writes what becomes of them.
        make_engine: an engine over a model and what its trials train.
        kept: for what lies below all modules, of this backbone and these rows.
    """

    def __init__(
        self,
        pack: Pack,
        backbone: Backbone,
        data: PackData,
        recorder: Recorder,
        make_engine: Callable[[nn.Module, Sequence[Group]], Engine],
        kept: Kept,
    ) -> None:
        self.pack, self.backbone, self.data, self.recorder = pack, backbone, data, recorder
        self._make_engine, self._kept = make_engine, kept
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
        for part in self._parts(layouts):
            with ExitStack() as stack:
                yield from self._train(self._job(part, stack, should_stop))

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

    def _parts(self, layouts: Sequence[Layout | None]) -> list[list[Slice]]:
        """The trials that go on together, for they are at one step: all of them, unless a checkpoint is lost.

        Those that are furthest come first; a trial whose checkpoint can't be read begins anew, without the others.
        """
        parts: dict[int, list[Slice]] = {}
        for state, placed in zip(self.states, layouts, strict=True):
            saved = self._saved(state.trial_id, placed)
            part = parts.setdefault(saved.step if saved else 0, [])
            state.slot = len(part)
            part.append(Slice(state, placed, saved))
        return [parts[step] for step in sorted(parts, reverse=True)]

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
            except (MemoryError, InfrastructureError):  # the machine's or the store's, not this trial's
                raise
            except Exception as error:
                failed.append(self.recorder.failed(member, error, BAD_TRIAL))
        return layouts, failed

    def _job(self, part: Sequence[Slice], stack: ExitStack, should_stop: Callable[[], bool]) -> Job:
        """Build what each trial trains, and the engine that trains it; ``stack`` undoes it all."""
        states, placed = [x.state for x in part], [x.layout for x in part if x.layout is not None]
        modules = Modules(self.backbone, placed) if placed else None
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
        model = PackModel(self.backbone, modules, read.weights or None, read.label_words, mixed, self._kept)
        rates = [c.member.trial.learning_rate for c in states]
        engine = self._make_engine(model, [Group(*pair) for pair in zip(trained, rates, strict=True)])
        stack.callback(engine.close)
        self.recorder.facts |= {
            "devices": engine.ranks,
            "ranks": engine.ranks,
            "zero_stage": engine.zero_stage,
            "offload": engine.offload,
        }
        for slot in part:
            slot.resume(engine)
        return Job(
            model=model,
            engine=engine,
            states=states,
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

    def _saved(self, trial_id: str, placed: Layout | None) -> Checkpoint | None:
        """A trial's checkpoint; one that can't be used is none: the trial begins anew."""
        data = self.recorder.saved(trial_id)
        try:
            found = Checkpoint.from_bytes(data) if data else None
            if found is not None:
                found.check(trial_id, None if placed is None else placed.count)
            return found
        except ValueError as error:
            file = self.recorder.checkpoint_file(trial_id)
            _log.warning("trial %s begins anew, for its checkpoint %s can't be used: %s", trial_id, file, error)
            return None
