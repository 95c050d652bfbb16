"""Measurements that are kept in a file, so that a benchmark that was cut short goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Figures = dict[str, Any]  # of one measurement, plain JSON


class Kept:
    """Measurements by name; each is made once.

    Args:
        file: where they are kept; None: nowhere.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._made: dict[str, Figures] = json.loads(file.read_text()) if file and file.exists() else {}

    def get(self, name: str, settings: Mapping[str, Any]) -> Figures | None:
        """A measurement under these settings, None where there is none."""
        found = self._made.get(name)
        return found["figures"] if found and found["settings"] == json.loads(json.dumps(settings)) else None

    def make(self, name: str, settings: Mapping[str, Any], measure: Callable[[], Figures]) -> None:
        """Measure, unless it is kept, and print it at once."""
        found = self.get(name, settings)
        note = " (kept)" if found is not None else ""
        if found is None:
            found = measure()
            self._made[name] = {"settings": dict(settings), "figures": found}
            if self._file:
                self._file.write_text(json.dumps(self._made, indent=1))
        print(f"{name}{note}: {', '.join(f'{key} {_short(value)}' for key, value in found.items())}", flush=True)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
