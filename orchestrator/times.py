"""How long trials take: measured on rows of a store where it has the same backbone and task, else by arithmetic."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trials.store import Store
    from trials.trial import Trial

CPU_SHARE = 0.5  # of the rate of a large matrix product, reached by training small models
Key = tuple[str, str, bool]  # backbone, task, whether all of the backbone trains


@dataclass(frozen=True)
class Clock:
    """Seconds of trials.

    Args:
        measured: seconds of training and evaluation per step, from the store's rows.
        on_gpu: whether the arithmetic is for a GPU or for this machine's CPU.
    """

    measured: Mapping[Key, float]
    on_gpu: bool

    @staticmethod
    def of(store: Store | None, on_gpu: bool) -> Clock:
        """A clock that knows the rows of a store."""
        if store is None:
            return Clock({}, on_gpu)
        columns = ["backbone", "task", "method", "steps_done", "train_s", "eval_s", "pack_size"]
        seen: dict[Key, list[float]] = defaultdict(list)
        for row in store.trials().select(columns).to_pylist():
            if row["steps_done"] and row["train_s"] is not None:
                spent = (row["train_s"] + (row["eval_s"] or 0.0)) / row["steps_done"]
                seen[row["backbone"], row["task"], row["method"] == "full"].append(spent)
        return Clock({key: median(values) for key, values in seen.items()}, on_gpu)

    def total(self, trials: Sequence[Trial]) -> tuple[float, str]:
        """Seconds of one worker for these trials, one after the other, and what the number rests on."""
        known = [t for t in trials if _key(t) in self.measured]
        seconds = sum(self.measured[_key(t)] * t.training.steps for t in known)
        if len(known) == len(trials):
            return seconds, "measured on rows of the store" if trials else "nothing to do"
        rate, basis = self._rate()
        rest = (t for t in trials if _key(t) not in self.measured)
        seconds += sum(_operations(t) for t in rest) / rate
        return seconds, f"{basis}; rows of the store for {len(known)} trials" if known else basis

    def _rate(self) -> tuple[float, str]:
        """Operations a second, and the words for it."""
        from orchestrator.estimate import CARD_FLOPS, measured_flops

        if self.on_gpu:
            return CARD_FLOPS, f"arithmetic, a GPU taken at {CARD_FLOPS:.0e} operations/s"
        rate = measured_flops() * CPU_SHARE
        return rate, f"arithmetic, half of this CPU's matrix product measured now: {rate:.1e} operations/s"


def _key(trial: Trial) -> Key:
    return trial.backbone.name, trial.task.name, trial.method.name == "full"


def _operations(trial: Trial) -> float:
    from orchestrator.estimate import flops, tokens_per_row
    from trials.backbones import parameters

    longest = trial.training.max_input_length
    return flops(trial, parameters(trial.backbone), tokens_per_row(trial.task.name, longest))
