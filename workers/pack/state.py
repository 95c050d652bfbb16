"""One trial's state through its pack: its best step, its learning curve, how it ends. Nothing here is shared."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from trials.pack import Member
from trials.store.answers import Answered
from workers.pack.checkpoint import Checkpoint


@dataclass
class TrialState:
    """The state of one trial while its pack trains.

    Args:
        member: the trial and its attempt number.
        slot: its place in the pack: slice and the engine's group.
        best: what it trained, θ first, then a trained head, as at its best step.
    """

    member: Member
    slot: int
    head_parameters: int = 0
    outcome: str | None = None  # None while it trains; then completed or diverged
    reported: bool = False  # its end was told, with its test score
    steps_done: int = 0
    best_step: int | None = None
    best_score: float | None = None
    best: list[Tensor] = field(default_factory=list)
    without_better: int = 0
    train_loss: float | None = None
    diverged_at: int | None = None
    count_actual: int | None = None
    curve: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    test_score: float | None = None
    transfer: dict[str, float] = field(default_factory=dict)
    answered: dict[str, Answered] = field(default_factory=dict)  # by task, the trial's own first
    tokens: int = 0
    train_s: float = 0.0
    eval_s: float = 0.0

    @property
    def trial_id(self) -> str:
        """Its trial's id."""
        return self.member.trial.trial_id

    def trained(self, loss: float, seconds: float, tokens: int) -> None:
        """A step was taken."""
        self.steps_done += 1
        self.train_loss = loss
        self.train_s += seconds
        self.tokens += tokens

    def diverged(self, step: int) -> None:
        """Loss or gradient were no longer finite at ``step``; the scores of its best step before that stay."""
        self.outcome, self.diverged_at = "diverged", step

    def evaluated(self, step: int, score: float, metric: str, seconds: float) -> bool:
        """A validation score is there; the first of equal best ones is kept.

        Returns:
            whether it is the best by now: ``best`` is then to be what the trial's tensors are.
        """
        self.eval_s += seconds
        point = {"step": step, "split": "validation", "metric": metric, "value": score, "loss": self.train_loss}
        self.curve.append({**point, "seconds": round(self.train_s + self.eval_s, 3)})
        better = self.best_score is None or score > self.best_score
        if better:
            self.best_step, self.best_score, self.without_better = step, score, 0
        else:
            self.without_better += 1
        training = self.member.trial.training
        if step >= training.steps or (training.early_stop and self.without_better >= training.early_stop):
            self.outcome = "completed"
        return better

    def checkpoint(self, tensors: Sequence[Tensor], optimizer: Sequence[Mapping[str, Tensor]]) -> Checkpoint:
        """What a resumed run needs to give the same numbers; the engine gives values and moments."""
        names = ("best_step", "best_score", "without_better", "train_loss", "curve", "tokens", "train_s", "eval_s")
        facts = {name: getattr(self, name) for name in names}
        return Checkpoint(self.trial_id, self.steps_done, tensors, optimizer, self.best, facts)

    def resume(self, saved: Checkpoint) -> None:
        """Go on from a checkpoint of the same trial; values and moments go to the engine."""
        assert saved.trial_id == self.trial_id, "a checkpoint of another trial"
        self.steps_done, self.best = saved.step, list(saved.best)
        for name, value in saved.facts.items():
            setattr(self, name, value)


def finite(*values: float) -> bool:
    """Whether all are finite numbers."""
    return all(math.isfinite(v) for v in values)
