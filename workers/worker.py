"""A warm worker: keeps one backbone in memory and runs pack after pack on it.

``Worker.run`` is the plain function that everything else is an adapter around: a generator that yields at every
evaluation. A trial's row is in the store *before* the trial is reported as ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import perf_counter

import torch

from trials.pack import Pack
from trials.setup import Setup
from trials.store.store import Store
from workers import allocator
from workers.backbone import load as backbones
from workers.backbone.load import Backbone
from workers.environment import device_of, precision_of
from workers.pack.loop import Interrupted
from workers.pack.progress import Progress
from workers.pack.run import PackRun
from workers.rows.warm import PackData, WarmRows


def never() -> bool:
    """Don't stop."""
    return False


class Worker:
    """Runs packs on one warm backbone.

    Args:
        store: where rows, modules and checkpoints go.
        engine: plain, deepspeed, or auto: DeepSpeed on a GPU, plain on a CPU.
    """

    def __init__(self, store: Store, *, engine: str = "auto") -> None:
        self.store, self._engine = store, engine
        self.device = "cpu"
        self._warm: tuple[tuple[str, str, str], Backbone] | None = None
        self._rows = WarmRows()
        self._load_s = 0.0  # of a load that no row has reported yet

    def run(self, pack: Pack, should_stop: Callable[[], bool] = never) -> Iterator[Progress]:
        """Train and evaluate a pack as its set-up says; a trial that fails is a ``failed`` row, never an exception.

        Raises:
            ApetError: the set-up asks for a device that isn't here.
        """
        self._obey(pack.setup)
        run = PackRun(self, pack)
        try:
            yield from run.trials(should_stop)
        except Interrupted:
            yield run.progress([run.recorder.ended(m, "interrupted") for m in run.recorder.open()])
        except Exception as error:
            yield run.progress([run.recorder.failed(m, error) for m in run.recorder.open()])

    @property
    def engine(self) -> str:
        """The engine's name on the device at hand."""
        return self._engine if self._engine != "auto" else ("deepspeed" if self.device == "cuda" else "plain")

    def _obey(self, setup: Setup) -> None:
        """Take the device and the threads of a pack."""
        self.device = device_of(setup.device)
        if setup.threads is not None:
            torch.set_num_threads(setup.threads)
        if self.device == "cpu":
            allocator.keep_freed()

    def backbone(self, pack: Pack) -> Backbone:
        """The pack's backbone, loaded only if another one is warm."""
        ref = pack.members[0].trial.backbone
        precision = precision_of(pack.members[0].trial.training.precision, self.device)
        key = (repr(ref), precision, self.device)
        if self._warm is None or self._warm[0] != key:
            self.forget()
            start = perf_counter()
            dtype = torch.bfloat16 if precision == "bf16" else torch.float32
            loaded = backbones.load(ref, pack.sources.weights, self.device, dtype)
            self._warm, self._load_s = (key, loaded), perf_counter() - start
        return self._warm[1]

    def forget(self) -> None:
        """Let the warm backbone go; the next pack loads its own."""
        self._warm = None
        self._rows.clear()
        allocator.give_back()

    def taken_load_s(self) -> float:
        """Seconds of loading that no row has yet, once."""
        taken, self._load_s = self._load_s, 0.0
        return taken

    def rows(self, pack: Pack, backbone: Backbone) -> PackData:
        """The pack's encoded rows, kept warm too."""
        return self._rows.of(pack, backbone)
