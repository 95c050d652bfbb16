"""``--set KEY=VALUE``: one value of a sweep file, replaced for a run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from trials.errors import ApetError
from trials.sweep import yaml as sweep_yaml


def setting(text: str) -> tuple[sweep_yaml.Path, Any]:
    """The path and the value of ``KEY=VALUE``.

    Raises:
        ApetError: it is none, or its value is no YAML.
    """
    key, equals, value = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise ApetError(f"--set {text}: give KEY=VALUE, as in training.steps=5 or methods.0.rank=4")
    path = tuple(int(part) if part.isdecimal() else part for part in parts)
    return path, sweep_yaml.value_of(value, f"--set {key.strip()}")


def check_reaches(document: sweep_yaml.Document, paths: Iterable[sweep_yaml.Path]) -> None:
    """Refuse to set a default that a block overrides: it would not change that block.

    Raises:
        ApetError: naming the block's key.
    """
    for path in paths:
        for index in range(len(document.data.get("blocks", ()))):
            own = ("blocks", index, *path[: 2 if path[0] == "training" else 1])
            if path[0] != "blocks" and own in document.values:
                key, place = sweep_yaml.dotted(own), document.values[own]
                raise ApetError(
                    f"--set {sweep_yaml.dotted(path)}: {key} ({place}) overrides it; set that key of the block"
                )
