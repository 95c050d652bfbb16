"""What the trials of a sweep were resolved to, and what of it may end them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from trials.sources.ignored import head_unseen, ignored
from trials.trial import BackboneRef, Training, Trial


def settings(trials: Iterable[Trial]) -> dict[str, list[Any]]:
    """What the trials were resolved to, defaults included: every value of every setting that occurs."""
    found: dict[str, dict[Any, None]] = defaultdict(dict)
    names = [f.name for f in fields(Training)]
    for trial in trials:
        values = {
            "task": trial.task.name,
            "learning_rate": trial.learning_rate,
            "train_seed": trial.train_seed,
            "position_seed": trial.position_seed,
            "head": trial.head,
            "labels": trial.labels,
            **{name: getattr(trial.training, name) for name in names},
        }
        for name, value in values.items():
            found[name][value] = None
        for target in trial.evaluate_on:
            found["evaluate_on"][target.name] = None
    return {name: list(values) for name, values in found.items()}


def too_long(trials: Iterable[Trial]) -> Iterator[str]:
    """Prompts that a backbone's positions may not hold before a task's longest texts, whose length the data decides."""
    for trial in trials:
        held, soft, text = trial.backbone.shape.positions, trial.method.tokens, trial.training.max_input_length
        if held and soft and soft + text > held:
            sure = f"{held - text} are sure to fit" if held > text else "a shorter prompt may fit too, or none"
            yield (
                f"{trial.backbone.name}, {trial.task.name}: {soft} soft tokens and texts of up to {text} tokens, but "
                f"{held} positions; trials fail if a text is too long ({sure})"
            )


def model_folders(locations: Mapping[BackboneRef, str]) -> Iterator[str]:
    """What lies in model folders and is ignored, and heads that can't be seen there.

    Args:
        locations: where the weights of each backbone were found.
    """
    for ref, location in locations.items():
        kind, _, name = location.partition(":")
        if kind != "folder":
            continue
        yield from (f"{ref.name}: {one}" for one in ignored(Path(name)))
        if ref.family == "bert" and not ref.shape.lm_head:
            unseen = head_unseen(Path(name))
            if unseen:
                yield f"{ref.name}: {unseen}"
