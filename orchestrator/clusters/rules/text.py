"""What YAML keeps silent about."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from orchestrator.clusters.document import dotted
from orchestrator.clusters.file import COMMANDS
from orchestrator.clusters.finding import Case, Problem, error, warning


def twice(case: Case) -> Iterator[Problem]:
    """A key is there once: of two the last one counts, and nobody says so."""
    for path, line, first in case.file.document.doubles:
        yield error(path, f"{dotted(path)} is there twice, in lines {first} and {line}; Ray takes the last", "keep one")


def keys(case: Case) -> Iterator[Problem]:
    """Keys are text: Ray reads YAML 1.1, where ``on`` is true and ``1`` a number."""
    for path, _, value in case.file.document.odd_keys:
        yield error(path, f"the key {path[-1]} is read as {value!r}, and keys are text", "put it in quotes")


def comments(case: Case) -> Iterator[Problem]:
    """In an unquoted command `` #`` begins a comment: what follows never runs."""
    for path, rest in case.file.document.comments.items():
        if len(path) > 1 and path[-2] in COMMANDS:
            command = next(text for where, text in case.file.commands() if where == path)
            level = warning if _whole(command) else error
            said = f"` #` begins a comment, so that the command ends before {rest!r}"
            yield level(path, said, "quote the command, or move the comment to a line of its own")


def _whole(command: str) -> bool:
    """Whether a shell would take it: an open quote shows what was cut off."""
    try:
        shlex.split(command)
    except ValueError:
        return False
    return True
