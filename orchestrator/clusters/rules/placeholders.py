"""What the user has still to fill in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from orchestrator.clusters.document import Path
from orchestrator.clusters.finding import Case, Problem, error

_OPEN = re.compile(
    r"<[A-Za-z](?:[\w .-]*\w)?>"  # <your bucket>, and no redirection: `<here >there`
    r"|\b(?i:change[-_]?me|replace[-_]?me|your[-_][a-z0-9_-]+|my[-_](?:bucket|project|account|key))\b"
    r"|[\w-]*\bYOURS?\b[\w-]*"
    r"|\b(?:TODO|FIXME|BUCKET|ACCOUNT|PROJECT|REGION)\b(?!=)"
    r"|^you$"
    r"|\b[a-z]+-(?i:x{4,})\b"
)
_VARIABLE = re.compile(r"\$\{?\w+\}?")


def filled(case: Case) -> Iterator[Problem]:
    """Nothing is left that only shows where a value goes."""
    for path, text in _texts(case.file.raw, ()):
        found = _OPEN.search(_VARIABLE.sub("", text))
        if found:
            yield error(path, f"{found[0]} only shows where a value goes", "write yours")


def _texts(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _texts(inner, (*path, index))
    elif isinstance(value, str):
        yield path, value
