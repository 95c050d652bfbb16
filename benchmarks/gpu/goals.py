"""What was measured against the goals: of every backbone the worst of each figure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Line = Mapping[str, Any]


@dataclass(frozen=True)
class Goal:
    """A figure of lines that are measured.

    Args:
        key: that a line has where it says something of it.
        excess: how far a line is beyond the goal, above 0 where it misses it.
        said: the goal in words.
    """

    key: str
    excess: Callable[[Line], float]
    said: str


GOALS = (
    Goal("share_of_peak", lambda x: 0.6 - x["share_of_peak"] if x["length"] == 256 else -1.0, ">= 0.6 at length 256"),
    Goal("ours_to_peft", lambda x: x["ours_to_peft"] - x["spread"] - 1, "<= 1, within its spread"),
    Goal("memory_ratio", lambda x: abs(x["memory_ratio"] - 1) - 0.1, "within 10 % of the plan"),
    Goal("next_pack_s", lambda x: x["next_pack_s"] - 1, "< 1"),
    Goal("pack_gain_8", lambda x: 2 - x["pack_gain_8"] if "pack_gain_64" in x else -1.0, ">= 2 on small backbones"),
)


def goals(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """One entry a backbone and figure: the line that is furthest from its goal, or closest to missing it."""
    measured = [line for line in lines if line.get("measured") and "backbone" in line]
    found = []
    for goal in GOALS:
        for backbone in dict.fromkeys(line["backbone"] for line in measured):
            about = [x for x in measured if x["backbone"] == backbone and x.get(goal.key) is not None]
            if about:
                found.append(_judged(goal, backbone, about))
    return found


def _judged(goal: Goal, backbone: str, about: Iterable[Line]) -> dict[str, Any]:
    worst = max(about, key=goal.excess)
    of = {key: worst[key] for key in ("part", "method", "length") if key in worst}
    met = goal.excess(worst) <= 0
    return {"backbone": backbone, **of, goal.key: worst[goal.key], "goal": goal.said, "met": met}
