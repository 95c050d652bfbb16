"""Paths in a sweep file: which are the same wherever the file lies, and how to make them all so."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from typing import Any

from trials.sweep import yaml as sweep_yaml

KEYS = ("model_dir", "data_dir")


def is_whole(path: str) -> bool:
    """Whether a path in a sweep file is the same wherever the file lies."""
    return path.startswith(("/", "~/"))


def standalone(document: sweep_yaml.Document, folder: Path, name: str) -> str:
    """A sweep's text with its name and whole paths, comments and all; one that needs no change stays as it is.

    Args:
        document: the sweep.
        folder: that its relative paths start from.
        name: of the sweep.
    """
    changes: dict[sweep_yaml.Path, Any] = {} if "name" in document.data else {("name",): name}
    for key, path in _paths(document):
        if not is_whole(path):
            changes[key] = str((folder / path).absolute())
    return sweep_yaml.edited(document.text, changes) if changes else document.text


def folders_of(text: str, key: str) -> list[str]:
    """Every folder that a sweep's text names, whether anything is there or not.

    Args:
        text: YAML.
        key: one of :data:`KEYS`: those of weights, or of data.

    Raises:
        Problems: the text is no YAML.
    """
    return [path for place, path in _paths(sweep_yaml.read(text, "sweep.yaml")) if place[-1] == key]


def _paths(document: sweep_yaml.Document) -> Iterator[tuple[sweep_yaml.Path, str]]:
    for key in document.values:
        if key and key[-1] in KEYS:
            path = reduce(lambda value, part: value[part], key, document.data)
            if isinstance(path, str):
                yield key, path
