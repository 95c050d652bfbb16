"""The parts of ``benchmarks/gpu.py``, and how they go one after the other: none of them ends the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from time import perf_counter
from typing import TYPE_CHECKING, Any

from gpu.report import Report

if TYPE_CHECKING:
    from gpu.bench import Bench


@dataclass(frozen=True)
class Part:
    """A part: the module ``gpu.KIND`` runs it.

    Args:
        name: ``KIND``, or ``BACKBONE.KIND``.
        seconds: that it may take on an H100, by arithmetic: it isn't begun where less is left.
    """

    name: str
    seconds: float

    @property
    def backbone(self) -> str:
        """Empty where it is about none."""
        return self.name.rpartition(".")[0]

    def lines(self, bench: Bench) -> Iterator[dict[str, Any]]:
        """What it finds, one by one."""
        kind = import_module(f"gpu.{self.name.rpartition('.')[2]}")
        found: Iterator[dict[str, Any]] = kind.run(bench, self.backbone)
        return found


PARTS = (  # by worth; those of a backbone side by side, for it is loaded once
    Part("start", 30),
    Part("peak", 5),
    Part("t5-xxl.worker", 60),
    Part("t5-xxl.steps", 60),
    Part("t5-xxl.packs", 40),
    Part("bloom-7b1.worker", 40),
    Part("bloom-7b1.steps", 60),
    Part("bloom-7b1.packs", 40),
    Part("t5-small.packs", 20),
    Part("bloom-560m.packs", 40),
    Part("bert-base.packs", 30),
    Part("t5-xxl.shards", 90),
    Part("bloom-7b1.shards", 60),
)


def chosen(names: Sequence[str]) -> list[Part]:
    """The parts of these names; a backbone's stands for all of its parts.

    Raises:
        ValueError: no such part.
    """
    known = {name for part in PARTS for name in (part.name, part.name.partition(".")[0])}
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"no such part: {', '.join(unknown)}; there are {', '.join(part.name for part in PARTS)}")
    return [part for part in PARTS if part.name in names or part.name.partition(".")[0] in names]


def perform(parts: Sequence[Part], bench: Bench, report: Report, until: float) -> None:
    """Part after part.

    Args:
        until: by the clock of :func:`time.perf_counter`, what isn't begun then, or wouldn't end by then, is left out.
    """
    for part in parts:
        left, takes = max(until - perf_counter(), 0), 0 if bench.tiny else part.seconds
        if left <= takes:
            report.line(part.name, {"skipped": f"it may take {takes:.0f} s, and {left:.0f} are left"})
            continue
        try:
            bench.let_go(but=part.backbone)
            for line in part.lines(bench):
                report.line(part.name, line)
                if perf_counter() > until:
                    report.line(part.name, {"skipped": "the rest of it: the time is over"})
                    break
        except Exception as error:
            report.line(part.name, {"error": f"{type(error).__name__}: {error}"})
