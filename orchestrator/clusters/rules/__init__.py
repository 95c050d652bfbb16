"""What cluster files are checked for: a file a concern, a function a rule.

A rule is a public function of a module here: it takes a :class:`~orchestrator.clusters.finding.Case` and yields
:class:`~orchestrator.clusters.finding.Problem`; its docstring says what holds in a good file. It is found by its place;
adding one means adding a function.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator

from orchestrator.clusters.finding import Case, Problem

Rule = Callable[[Case], Iterator[Problem]]


def rules() -> dict[str, Rule]:
    """Every rule by its name, ``module.function``, in the order of modules and of functions in them."""
    found: dict[str, Rule] = {}
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{info.name}")
        for name, value in vars(module).items():
            if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_"):
                found[f"{info.name}.{name}"] = value
    return found
