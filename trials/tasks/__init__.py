"""The tasks of the study: one file each, found by its name. Adding a task means adding a file."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from trials.errors import ApetError, choices
from trials.tasks.spec import Task

__all__ = ["Task", "get", "names"]

_ORDER = ("SA", "NLI", "PI", "QA", "SUM")  # as in the study


@cache
def names() -> tuple[str, ...]:
    """Every task, grouped by category, then by name."""
    return tuple(sorted(_tasks(), key=lambda name: (_ORDER.index(_tasks()[name].category), name)))


def get(name: str) -> Task:
    """A task by its name.

    Raises:
        ApetError: unknown, with the choices.
    """
    found = _tasks().get(name)
    if found is None:
        raise ApetError(f"task {name!r} is unknown; {choices(name, names())}")
    return found


@cache
def _tasks() -> dict[str, Task]:
    """One task per file of this folder, but for the file that says what a task is."""
    files = (module.name for module in pkgutil.iter_modules(__path__) if module.name != "spec")
    found = {name: importlib.import_module(f"{__name__}.{name}").TASK for name in files}
    for name, task in found.items():
        assert task.name == name, f"trials/tasks/{name}.py holds a task named {task.name}"
    return found
