"""Errors that a user can act on: the value, the rule, the choices, the next step."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class ApetError(ValueError):
    """Wrong usage or input. The command line prints the message and exits 2, without a traceback."""


class Problems(ApetError):
    """Several errors of one input, reported together.

    Args:
        problems: one complete message each.
        where: what they are about (a sweep file, a store), printed once above them.
    """

    def __init__(self, problems: Sequence[str], where: str = "") -> None:
        assert problems, "Problems needs at least one problem"
        self.problems = tuple(problems)
        count = f"{len(self.problems)} error{'s' if len(self.problems) > 1 else ''}"
        head = f"{count} in {where}:\n" if where else ""
        super().__init__(head + "\n".join(f"  {p}" if head else p for p in self.problems))


def choices(value: object, valid: Iterable[object]) -> str:
    """The valid choices for a wrong ``value``, the nearest match first.

    >>> choices("bitfitt", ["bitfit", "lora"])
    'did you mean bitfit? Choices: bitfit, lora'
    """
    names = [str(v) for v in valid]
    near = difflib.get_close_matches(str(value), names, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{hint}Choices: {', '.join(names)}"
