"""Rewrites the tables of ``docs/gpu.md``: what the planner predicts, of cards that nobody has to have.

Everything in them is arithmetic (``orchestrator.planning``), nothing is measured. ``tests/test_gpu_page.py`` says
whether the page is still what this prints.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from orchestrator.planning.candidates import way
from orchestrator.planning.devices import machine_with
from orchestrator.planning.fit import Fit, fit
from orchestrator.planning.plan import BackbonePlan, GroupPlan, plan
from orchestrator.text import GIB
from trials.backbones import get
from trials.modules.methods import named
from trials.sweep.resources import Resources
from trials.sweep.sweep import Sweep
from trials.trial import Source, TaskRef, Training, Trial

PAGE = Path(__file__).resolve().parents[1] / "docs" / "gpu.md"
CARDS = ("a10g-24", "a100-40", "a100-80", "h100-80", "h200-141")
GPUS = (1, 4, 8)
LARGE = (("t5-xxl", "adapter"), ("bloom-7b1", "adapter"), ("bloom-7b1", "full"), ("t5-xl", "full"), ("t5-xxl", "full"))
SWEEPS = ("methods", "position", "count", "transfer")


def memory_table() -> str:
    """Memory of a card by backbone, kind of card and number of cards, and the set-up."""
    lines = ["| trains | card | 1 GPU | 4 GPUs | 8 GPUs |", "|---|---|---|---|---|"]
    for backbone, method in LARGE:
        for card in CARDS:
            cells = (_held(fit([_trial(backbone, method)], [machine_with(card, n)], _alone(n)), n) for n in GPUS)
            lines.append(f"| {backbone}, {method} | {card} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _trial(backbone: str, method: str) -> Trial:
    """Batches of 32 rows of 256 tokens, as the study has them for pairs of texts."""
    task = TaskRef("rte", Source("hub", "nyu-mll/glue", "main"))
    return Trial(get(backbone), task, named(method), 1e-3, Training(20_000, max_input_length=256))


def _alone(gpus: int) -> Resources:
    return Resources(gpus=gpus, pack_size=1)


def _held(found: Fit, gpus: int) -> str:
    """``12.3 GiB: stage 3, recompute, 8 rows``; of what doesn't fit what it lacks."""
    setup = found.setup
    words = [f"stage {setup.zero_stage}" if setup.zero_stage else "whole"]
    words += [name for name in ("offload", "recompute") if getattr(setup, name)]
    words += [f"{setup.micro_batch} row{'s' if setup.micro_batch > 1 else ''}"] if setup.micro_batch else []
    held = f"{found.needed / GIB:.1f} GiB: {', '.join(words)}"
    if not found.lacking:
        return held
    short = f"{setup.memory * setup.ranks / GIB:.0f} GiB of the machine's memory" if found.fits else "that"
    return f"**no**: {held}; {short} is more than there is"


def sweeps_table(sweeps: Sequence[str] = SWEEPS) -> str:
    """By sweep and backbone what holds it on machines of 8 cards, and GPU-hours."""
    lines = [f"| sweep | backbone | {' | '.join(CARDS)} |", f"|---|---|{'---|' * len(CARDS)}"]
    for name in sweeps:
        sweep = Sweep.load(name)
        plans = [plan(sweep, machines=[machine_with(card, 8)]).backbones for card in CARDS]
        for backbones in zip(*plans, strict=True):
            for what in ("modules", "full"):
                groups = [_groups(one, what) for one in backbones]
                if groups[0]:
                    full = ", full" if what == "full" else ""
                    lines.append(f"| {name} | {backbones[0].backbone}{full} | {' | '.join(map(_cell, groups))} |")
    return "\n".join(lines)


def _groups(one: BackbonePlan, what: str) -> list[GroupPlan]:
    return [group for group in one.groups if (group.methods == "full") == (what == "full")]


def _cell(groups: Sequence[GroupPlan]) -> str:
    """What the group that needs the most takes, and the hours of all."""
    most = max(groups, key=lambda group: (group.setup.offload, group.setup.gpus, group.setup.recompute))
    if refused := [group for group in groups if group.refusal]:
        least = max(refused, key=lambda group: group.bytes_per_device)
        return f"**no**: {way(least.setup)} takes {least.bytes_per_device / GIB:.1f} GiB"
    hours = sum(group.work_s * group.setup.gpus for group in groups) / 3600
    return f"{way(most.setup)}: {hours:,.{0 if hours >= 10 else 1}f} h"


def tables() -> Iterator[tuple[str, str]]:
    """Every table by its name on the page."""
    yield "memory", memory_table()
    yield "sweeps", sweeps_table()


def with_table(page: str, name: str, table: str) -> str:
    """The page with one of its tables replaced."""
    marks = f"<!-- {name} -->\n", f"\n<!-- end of {name} -->"
    found, n = re.subn(f"{re.escape(marks[0])}.*?{re.escape(marks[1])}", lambda _: table.join(marks), page, flags=re.S)
    assert n == 1, f"the page has {n} tables {name}"
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Rewrite the page."""
    argparse.ArgumentParser(description=__doc__).parse_args(argv)
    page = PAGE.read_text()
    for name, table in tables():
        page = with_table(page, name, table)
    PAGE.write_text(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
