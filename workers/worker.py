"""A warm worker: keeps one backbone in memory and runs pack after pack on it.

``Worker.run`` is the plain function that everything else is an adapter around: a generator that yields at every
evaluation. A trial's row is in the store *before* the trial is reported as ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

import torch

from trials import keys
from trials.errors import ApetError
from trials.failures import BAD_INPUT, BAD_TRIAL, OUT_OF_MEMORY, InfrastructureError
from trials.pack import Pack
from trials.setup import Setup
from trials.sources import locations
from trials.store.store import Store
from workers import allocator
from workers.backbone import load as backbones
from workers.backbone.full import Fingerprint
from workers.backbone.load import Backbone
from workers.backbone.sharded import Sharding
from workers.engines import choice
from workers.environment import device_of, precision_of, reset_peak_memory
from workers.free import free_bytes
from workers.gang.gang import ALONE, Gang
from workers.gang.short import ShortOfMemory
from workers.modules.kept import Kept
from workers.pack.calibrate import Calibrator, told
from workers.pack.loop import Interrupted
from workers.pack.memory import OutOfMemoryError, give_back, hopeless, memory_named
from workers.pack.portions import Limits
from workers.pack.progress import Progress
from workers.pack.recorder import Onlooker, Recorder
from workers.pack.run import PackRun
from workers.pack.together import together
from workers.pack.untrained import Untrained
from workers.rows.batches import most_rows
from workers.rows.warm import PackData, WarmRows


def never() -> bool:
    """Don't stop."""
    return False


@dataclass(frozen=True)
class Warm:
    """A backbone in memory: what it is the same as, and the bits that every pack must leave."""

    key: tuple[object, ...]
    backbone: Backbone
    bits: Fingerprint


class Worker:
    """Runs packs on one warm backbone.

    Args:
        store: where rows, modules and checkpoints go.
        engine: plain, deepspeed, or auto: DeepSpeed on a GPU, plain on a CPU.
        gang: the ranks that run each pack together, this one among them: each has a worker and runs the same packs.

    Raises:
        ApetError: no such engine.
    """

    def __init__(self, store: Store, *, engine: str = "auto", gang: Gang = ALONE) -> None:
        if engine != "auto":
            choice.check(engine)
        self.store, self._engine, self.gang = store, engine, gang
        self.device = "cpu"
        self._threads = torch.get_num_threads()  # of packs that don't say
        self._warm: Warm | None = None
        self._rows = WarmRows()
        self._kept = Kept(self._free)
        self._limits: dict[tuple[object, ...], Limits] = {}
        self._calibrator = Calibrator(store)
        self._untrained = Untrained(store, gang)
        self._load_s = 0.0  # of a load that no row has reported yet

    def run(
        self, pack: Pack, should_stop: Callable[[], bool] = never, limits: Mapping[str, Any] | None = None
    ) -> Iterator[Progress]:
        """Train and evaluate a pack as its set-up says; in a gang every rank does.

        A trial that fails is a ``failed`` row with a ``failure_class``, never an exception: ``bad_trial`` (its module
        can't be placed, alone; a head that the backbone can't have, all of the pack), ``bad_input`` (weights or rows
        can't be read, or are no longer those of the trial's id: all of the pack), ``out_of_memory`` (alone, with one
        row a pass: until then a pack goes on in smaller portions, see :mod:`workers.pack.portions`). A trial that
        diverges is a result.

        Args:
            pack: the trials that have no row yet.
            should_stop: asked before every step; a gang stops where one rank is asked to.
            limits: those of the :class:`ShortOfMemory` that ended another gang on this pack.

        Raises:
            ApetError: the set-up asks for a device that isn't here, for other ranks than these, or for more than this
                release trains.
            ShortOfMemory: memory ran out where other ranks wait for this one.
            InfrastructureError: anything else, such as a sick GPU or a store that can't be written for minutes. Trials
                that haven't ended have no row, and keep their checkpoints; the worker must not be used again.
        """
        self._obey(pack.setup)
        ranks = self.gang.ranks
        facts = {"devices": ranks, "ranks": ranks, "threads": torch.get_num_threads()}
        recorder = (Recorder if self.gang.first else Onlooker)(self.store, pack, self.device, facts, self.gang)
        recorder.load_s = self._load_s
        try:
            while True:
                try:
                    yield from self._run(pack, recorder, should_stop, limits)
                    return
                except ShortOfMemory as short:
                    if self.gang.ranks > 1 or short.limits == limits:
                        raise
                    limits = short.limits
                self.forget()  # who is alone begins anew by itself, without what the pass that was given up has left
        except InfrastructureError:
            raise
        except Exception as error:
            raise InfrastructureError(f"{type(error).__name__}: {str(error).strip() or repr(error)}") from error
        finally:
            self._load_s = recorder.load_s

    def _run(
        self, pack: Pack, recorder: Recorder, should_stop: Callable[[], bool], limits: Mapping[str, Any] | None
    ) -> Iterator[Progress]:
        """Every failure that has a class becomes rows; what has none is raised."""

        def failed(error: Exception, failure_class: str) -> Progress:
            ended = [recorder.failed(m, error, failure_class) for m in recorder.open()]
            return Progress(pack.pack_id, steps=pack.members[0].trial.training.steps, ended=tuple(ended))

        try:
            backbone, data = self._read(pack)
        except OutOfMemoryError as error:
            if self.gang.ranks > 1 and not error.of_all:
                raise  # the other ranks wait for what this one can't do
            self.forget()
            yield failed(hopeless(error, self.device, "while the backbone and the rows were loaded"), OUT_OF_MEMORY)
            return
        except ApetError as error:
            yield failed(error, BAD_INPUT)
            return
        finally:
            recorder.load_s = self._load_s
        name = "deepspeed" if backbone.sharded else self.engine
        kept, make_engine = self._kept.of(backbone.model, data), partial(choice.make, name, gang=self.gang)
        if pack.members[0].trial.method.name == "full":
            make_engine = partial(make_engine, stage=pack.setup.zero_stage, offload=pack.setup.offload)
        learnt = self._calibrator.learn(pack, backbone, data, make_engine, should_stop, kept.clear)
        held, hopeless_before = self.limits(pack, limits), (limits or {}).get("hopeless", {})
        run = PackRun(
            pack, backbone, data, recorder, held, make_engine, kept, self._untrained, self.gang, hopeless_before
        )
        try:
            with memory_named():
                yield from told(learnt, run.trials(should_stop))
        except Interrupted:
            yield run.interrupted()
        except OutOfMemoryError as error:
            if self.gang.ranks > 1 and not error.of_all:
                raise  # the other ranks go on, and this one can't
            yield run.failed(hopeless(error, self.device, "while the modules were placed"), OUT_OF_MEMORY)
        except ApetError as error:
            yield run.failed(error, BAD_TRIAL)
        self.gang.at("the end of the pack")

    def _read(self, pack: Pack) -> tuple[Backbone, PackData]:
        """The pack's backbone and rows.

        Raises:
            ApetError, OutOfMemoryError: they can't be had, here or on another rank.
        """
        self.gang.at("comparing weights and rows with the trials' ids")
        together(self.gang, lambda: verify(pack))
        changed = self._warm is not None and self._warm.backbone.fingerprint() != self._warm.bits
        if self.gang.any(changed):
            self.forget()  # never train on a backbone that isn't the one named
        self.gang.at("loading the backbone")
        try:
            with memory_named():
                backbone = self.backbone(pack)
        except ApetError:
            self.forget()  # on every rank, whether it is there or not
            raise
        self.gang.at("reading the rows")
        return backbone, together(self.gang, lambda: self.rows(pack, backbone))

    @property
    def engine(self) -> str:
        """The engine's name on the device at hand."""
        return self._engine if self._engine != "auto" else ("deepspeed" if self.device == "cuda" else "plain")

    def _obey(self, setup: Setup) -> None:
        """Take the device and the threads of a pack, and begin to measure its memory."""
        ranks = self.gang.ranks
        if setup.ranks != ranks or setup.gpus not in (0, ranks):
            raise ApetError(
                f"a pack for {setup.ranks} ranks on {setup.gpus} GPUs, and here are {ranks} ranks; each has "
                "one GPU, or all have none"
            )
        self.device = device_of(setup.device)
        torch.set_num_threads(setup.threads or self._threads)
        if self.device == "cpu":
            (allocator.return_large if setup.zero_stage == 3 else allocator.keep_freed)()
            allocator.give_back()  # what the pack before has freed is none of this one's
        reset_peak_memory(self.device)

    def backbone(self, pack: Pack) -> Backbone:
        """The pack's backbone, loaded only if another one is warm; a head, a task or a place makes no other one."""
        ref = pack.members[0].trial.backbone
        precision = precision_of(pack.members[0].trial.training.precision, self.device)
        setup = pack.setup
        sharding = Sharding(self.gang, setup.offload) if setup.zero_stage == 3 else None
        key = (keys.warmth(ref.text, precision), self.device, sharding)
        if self._warm is None or self._warm.key != key:
            self.forget()
            start = perf_counter()
            dtype = torch.bfloat16 if precision == "bf16" else torch.float32

            def load() -> Warm:
                loaded = backbones.load(ref, pack.sources.weights, self.device, dtype, sharding)
                return Warm(key, loaded, loaded.fingerprint())

            # while they load shards ranks need each other, and say themselves where one of them can't
            self._warm = load() if sharding else together(self.gang, load)
            self._load_s = perf_counter() - start
        return self._warm.backbone.named(ref, pack.sources.weights)

    def limits(self, pack: Pack, found: Mapping[str, Any] | None = None) -> Limits:
        """What memory was found to hold of packs like this one on the warm backbone; of the first one nothing yet.

        Args:
            pack: that is about to run.
            found: what another gang has found, which is no more.
        """
        trial = pack.members[0].trial
        training = trial.training
        lengths = training.max_input_length, trial.method.tokens, training.max_generated_length
        whole = most_rows(training.batch_size, self.gang)
        rows = min(pack.setup.micro_batch or whole, whole)
        assert self._warm is not None, "a pack runs on a warm backbone"
        key = (self._warm.key, trial.task.name, lengths, training.batch_size, rows, trial.method.name == "full")
        if found is not None:
            self._limits[key] = Limits.of_plain(found)
        return self._limits.setdefault(key, Limits.of(rows))

    def _free(self) -> int:
        """Bytes for what is kept for speed: none with shards, where all ranks must take the same passes."""
        return 0 if self._warm is not None and self._warm.backbone.sharded else free_bytes(self.device)

    def forget(self) -> None:
        """Let the warm backbone go; the next pack loads its own."""
        if self._warm is not None:
            self._warm.backbone.close()
        self._warm = None
        self._rows.clear()
        self._kept.of()
        give_back()
        allocator.give_back()

    def rows(self, pack: Pack, backbone: Backbone) -> PackData:
        """The pack's encoded rows, kept warm too."""
        return self._rows.of(pack, backbone)


def verify(pack: Pack) -> None:
    """Make sure that weights and data are those of the trials' ids, warm or not.

    Raises:
        ApetError: something is gone, or was changed since the trials were enumerated.
    """
    trial, sources = pack.members[0].trial, pack.sources
    locations.verify(trial.backbone.weights, sources.weights)
    locations.verify(trial.task.data, sources.data)
    for target in trial.evaluate_on:
        if target.name not in sources.targets:
            raise ApetError(f"pack {pack.pack_id}: where is the data of {target.name}? Add it to its sources' targets")
        locations.verify(target.data, sources.targets[target.name])
