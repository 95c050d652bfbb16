"""Before anything starts: can what is on the hub be had, from the local cache or from the hub?"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from trials.errors import ApetError, Problems
from trials.pack import Sources
from trials.trial import Trial

TIMEOUT_S = 10.0
_HUB = "hub:"


def check(todo: Iterable[tuple[Trial, Sources]]) -> None:
    """Ask the local cache, then the hub, for every hub id of these trials, each once; nothing is downloaded.

    Raises:
        Problems: what can't be had, what was tried, and how to point at a local folder.
    """
    wanted: dict[tuple[str, str], str] = {}
    for trial, sources in todo:
        name = trial.backbone.name
        wanted.setdefault(("model", sources.weights), f"backbone {name}: {{name: {name}, model_dir: FOLDER}}")
        for task, location in [(trial.task.name, sources.data), *sources.targets.items()]:
            wanted.setdefault(("dataset", location), f"task {task}: {{name: {task}, data_dir: FOLDER}}")
    problems = []
    for (kind, location), local in wanted.items():
        if location.startswith(_HUB):
            hub_id, _, revision = location.removeprefix(_HUB).partition("@")
            try:
                _find(kind, hub_id, revision)
            except ApetError as error:
                what, _, instead = local.partition(": ")
                problems.append(f"{what}: {error}; with no network give a local folder: {instead}")
    if problems:
        raise Problems(
            problems, "what the trials need from the hub; `apet tasks` and `apet backbones` say what is where"
        )


def _find(kind: str, hub_id: str, revision: str) -> None:
    """Find a model or data set.

    Raises:
        ApetError: neither the cache nor the hub has it.
    """
    from huggingface_hub import HfApi, constants

    if _cached(kind, hub_id, revision):
        return
    try:
        HfApi().repo_info(hub_id, repo_type=kind, revision=revision, timeout=TIMEOUT_S)
    except Exception as error:  # the client raises its transport's errors too, whatever that is
        said = str(error).strip().splitlines()
        raise ApetError(
            f"tried the local cache {constants.HF_HUB_CACHE} and {constants.ENDPOINT} for {hub_id} at {revision}: "
            f"{type(error).__name__}: {said[0] if said else 'no answer'}"
        ) from None


def _cached(kind: str, hub_id: str, revision: str) -> bool:
    """Whether a snapshot is in the hub's cache, or a prepared copy in that of ``datasets``."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / f"{kind}s--{hub_id.replace('/', '--')}"
    if (folder / "snapshots" / revision).is_dir() or (folder / "refs" / revision).is_file():
        return True
    prepared = Path(os.environ.get("HF_DATASETS_CACHE") or Path(constants.HF_HOME) / "datasets")
    return kind == "dataset" and (prepared / hub_id.replace("/", "___")).is_dir()
