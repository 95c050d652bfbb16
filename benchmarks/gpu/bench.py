"""One call of ``benchmarks/gpu.py``: the device, how much is measured, the one backbone that is in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import mkdtemp
from time import perf_counter
from typing import Any

import torch

from gpu import peak
from gpu.laps import beside, give_back
from gpu.subjects import FULL, TASK, TINY, subject, texts, trial
from orchestrator.text import GIB
from trials.pack import Member, Pack, Sources
from trials.setup import Setup
from trials.sources.locations import find_data, location_of
from trials.store.store import Store
from trials.trial import BackboneRef, Trial
from workers.backbone.load import Backbone
from workers.worker import Worker

ASSUMED_CARD = 80 * GIB  # where there is none: for what is planned


@dataclass(frozen=True)
class Ran:
    """How a pack went, by the clock of :func:`time.perf_counter`.

    Args:
        began: it was given to the worker.
        steps: each step began.
        ended: its last trial had.
        rows: of the store.
    """

    began: float
    steps: Sequence[float]
    ended: float
    rows: Sequence[dict[str, Any]]


class Warm:
    """A worker, the backbone that it keeps, and packs for it.

    Args:
        bench: what it belongs to.
        ref: the backbone.
        engine: of the worker.
        settings: of the set-up of its packs.
    """

    def __init__(self, bench: Bench, ref: BackboneRef, engine: str, **settings: Any) -> None:
        self.bench, self.ref, self._settings = bench, ref, settings
        self._source, self._data = find_data(TASK, texts(bench.folder / "texts", bench.sizes))
        self._store = Store(mkdtemp(dir=bench.folder), create=True)
        self._worker = Worker(self._store, engine=engine)
        self._packs = 0

    @cached_property
    def backbone(self) -> Backbone:
        """In memory; loaded unless a pack has done it."""
        self._worker.device = self.bench.device
        return self._worker.backbone(self._pack([self.trial("lora")]))

    @cached_property
    def weights_bytes(self) -> int:
        """Of the backbone on its device."""
        return sum(p.nbytes for p in self.backbone.model.parameters())

    def trial(self, method: str, length: int = 0, nth: int = 0) -> Trial:
        """The ``nth`` trial of a method, by default at the length at which packs are measured."""
        sizes = self.bench.sizes
        return trial(self.ref, method, sizes, length or sizes.lengths[-1], nth, self._source)

    def run(self, trials: Sequence[Trial]) -> Ran:
        """A pack as the driver would have it run.

        Raises:
            RuntimeError: a trial failed.
        """
        steps: list[float] = []
        ids = {one.trial_id for one in trials}

        def asked() -> bool:
            """Before every step."""
            steps.append(perf_counter())
            return False

        began = ended = perf_counter()
        for progress in self._worker.run(self._pack(trials), asked):
            ended = perf_counter()
            for one in progress.ended:
                if one.state != "completed":
                    raise RuntimeError(f"{one.state}: {one.error_message}")
        rows = [row for row in self._store.trials().to_pylist() if row["trial_id"] in ids]
        return Ran(began, steps, ended, rows)

    def setup(self, pack_size: int) -> Setup:
        """How its packs of a size run."""
        gpus = int(self.bench.device == "cuda")
        return Setup(self.bench.device, gpus=gpus, pack_size=pack_size, **self._settings)

    def close(self) -> None:
        """Let the backbone go."""
        self._worker.forget()

    def _pack(self, trials: Sequence[Trial]) -> Pack:
        self._packs += 1
        sources = Sources(location_of(self.ref.weights), self._data)
        members = tuple(Member(one) for one in trials)
        return Pack(f"{self.ref.name}-{self._packs}", members, sources, setup=self.setup(len(trials)))


class Bench:
    """Shared by all parts.

    Args:
        device: cpu or cuda.
        tiny: whether the smallest of everything is taken: nothing that comes out is a measurement then.
        folder: for a store and some texts.

    Attributes:
        engine: of workers; the first part says which works here.
    """

    def __init__(self, device: str, tiny: bool, folder: Path) -> None:
        self.device, self.tiny, self.folder = device, tiny, folder
        self.sizes = TINY if tiny else FULL
        self.engine = "auto"
        self._warm: tuple[str, Warm] | None = None

    @cached_property
    def flop_s(self) -> float:
        """The peak: operations a second of matrix products."""
        return peak.measure(self.sizes.side, self.device)

    @cached_property
    def card_bytes(self) -> int:
        """Memory of the card."""
        if self.device == "cuda":
            return torch.cuda.get_device_properties(0).total_memory
        return ASSUMED_CARD

    def warm(self, name: str) -> Warm:
        """A worker with a backbone; another one's is gone."""
        self.let_go(but=name)
        if self._warm is None:
            self._warm = name, Warm(self, subject(name, self.tiny), self.engine)
        return self._warm[1]

    def let_go(self, but: str = "") -> None:
        """Free what parts have left, and every backbone but one."""
        if self._warm is not None and self._warm[0] != but:
            self._warm = None
        give_back()

    def memory(self, peak_bytes: int, planned_bytes: int) -> dict[str, Any]:
        """What a peak says of the plan, which counts what lies beside tensors too; on a CPU nothing."""
        if self.device != "cuda":
            return {"peak_bytes": None, "beside_bytes": None, "memory_ratio": None}
        more = beside(self.device)
        ratio = round((peak_bytes + more) / planned_bytes, 4)
        return {"peak_bytes": peak_bytes, "beside_bytes": more, "memory_ratio": ratio}
