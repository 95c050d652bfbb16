"""Lines of JSON, each out as soon as it is known; the last one has them all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpu.goals import goals

NOT_MEASURED = ("predicted", "skipped", "error")  # a line that has one of these is no measurement


class Report:
    """What a run has found by now.

    Args:
        said: what every line says: of measurements ``measured`` and the card, of a tiny run that it is one.
        out: a file that gets the lines too, behind what it has.
    """

    def __init__(self, said: Mapping[str, Any], out: Path | None = None) -> None:
        self._said, self._out = dict(said), out
        self._lines: list[dict[str, Any]] = []

    def line(self, part: str, found: Mapping[str, Any]) -> None:
        """One result of a part."""
        said = dict(self._said)
        if any(key in found for key in NOT_MEASURED):
            said.pop("measured", None)
        self._lines.append({"part": part, **said, **found})
        self._print(self._lines[-1])

    @property
    def failed(self) -> list[str]:
        """Parts with an error, each once."""
        return list(dict.fromkeys(line["part"] for line in self._lines if "error" in line))

    def last(self, facts: Mapping[str, Any]) -> None:
        """All of it as one object."""
        self._print({**self._said, **facts, "failed": self.failed, "goals": goals(self._lines), "lines": self._lines})

    def _print(self, found: Mapping[str, Any]) -> None:
        text = json.dumps(found)
        print(text, flush=True)
        if self._out is not None:
            with self._out.open("a", encoding="utf-8") as file:
                file.write(text + "\n")
