"""The sections of the report: one file each, with ``ORDER`` on the page and ``section(study)``.

A section is found by its file; adding one means adding a file.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType


def sections() -> list[ModuleType]:
    """The section modules in the order of the page."""
    found = [importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]
    return sorted(found, key=lambda module: module.ORDER)
