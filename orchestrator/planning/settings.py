"""What the trials of a sweep were resolved to, what of it may end them, and what of it may change."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from trials.sources.ignored import head_unseen, ignored
from trials.trial import BackboneRef, Source, Training, Trial


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


def unpinned(trials: Iterable[Trial]) -> Iterator[str]:
    """What of the hub may change under a trial's id: a revision that is no commit."""
    for trial in trials:
        weights, name = trial.backbone.weights, trial.backbone.name
        if _moves(weights):
            yield (
                f"backbone {name}: its weights are {weights.name} on the hub at {weights.version}, which is no commit: "
                f"when they change there, trials keep their ids. To pin them, download them once and give the folder: "
                f"{{name: {name}, model_dir: FOLDER}}"
            )
        for task in (trial.task, *trial.evaluate_on):
            if _moves(task.data):
                yield (
                    f"task {task.name}: its data is {task.data.name} on the hub at {task.data.version}, which is no "
                    "commit: when it changes there, trials keep their ids. To pin it, download it once and give the "
                    f"folder: {{name: {task.name}, data_dir: FOLDER}}"
                )


def _moves(source: Source) -> bool:
    return source.kind == "hub" and re.fullmatch("[0-9a-f]{40}", source.version) is None


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
