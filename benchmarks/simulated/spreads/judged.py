"""The kinds of studies of two scales, what is said of them as shares, and a table of it."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import Any

import numpy as np

from simulated.spreads.rules import Scale, judge
from simulated.spreads.studies import Study, draw

AT_ONCE = 50  # studies in memory
GOAL = 0.055  # of larger scales said to spread less that don't, in every study that is held to it
HALVED = "halved"  # the study that the goal of power speaks of: 5 seeds, 4 counts, 2 points to 1
SHARES = ("covers", "covers as seen", "covers bootstrap", "ratio covers")
SHARES += ("smaller", "smaller as seen", "smaller permuted")


def studies() -> list[Study]:
    """All kinds."""
    places = [Study("equal", levels=n, blocks=b, counts=c) for n in (3, 5) for b in (1, 2) for c in (1, 4)]
    found = list(places)
    for place in (Study("", counts=4), Study("", levels=3, counts=4), Study("", blocks=2)):
        found += [
            replace(place, name="no spread", sd=(0.0, 0.0)),
            replace(place, name="little spread", sd=(0.005, 0.005)),
            replace(place, name="wide spread", sd=(0.04, 0.04)),
            replace(place, name="two kinds of places", luck="two kinds"),
            replace(place, name="277 rows", rows=277),
            replace(place, name=HALVED, sd=(0.02, 0.01)),
            replace(place, name="a third", sd=(0.03, 0.01)),
        ]
    five = Study("", counts=4)
    found += [
        replace(five, name="one task, 500 rows", tasks=1),
        replace(five, name="1066 rows", rows=1066),
        replace(five, name="counts by themselves", nested=0.0),
        replace(five, name="counts nearly alike", nested=0.8),
        replace(five, name="counts nearly alike", nested=0.8, levels=3),
        replace(five, name="halved, counts by themselves", nested=0.0, sd=(0.02, 0.01)),
        replace(five, name=HALVED, counts=1, sd=(0.02, 0.01)),
        replace(five, name="halved, 10 seeds", levels=10, sd=(0.02, 0.01)),
        replace(five, name="halved from 4 points", sd=(0.04, 0.02)),
    ]
    methods = Study("", levels=4, blocks=3, tasks=8, fixed=True)
    found += [
        replace(methods, name="equal"),
        replace(methods, name="no spread", sd=(0.0, 0.0)),
        replace(methods, name="little spread", sd=(0.005, 0.005)),
        replace(methods, name="wild runs", own_sd=0.03),
        replace(methods, name="from 3 points to 2", sd=(0.03, 0.02)),
        replace(methods, name=HALVED, sd=(0.02, 0.01)),
    ]
    loose = [
        replace(five, luck=luck, name=luck, held=False, counts=c) for luck in ("long tails", "collapse") for c in (1, 4)
    ]
    return [*found, replace(five, name="counts the same", nested=1.0), *loose]


def key(study: Study) -> str:
    """Of a kind: no two have the same."""
    return f"{study.name}: {study.what}"


def judged(study: Study, number: int) -> dict[str, Any]:
    """One kind: shares of so many studies. Its random stream is its own, whatever else runs."""
    rng = np.random.default_rng([zlib.crc32(key(study).encode()), 20230604])
    said: dict[str, list[Any]] = {}
    for start in range(0, number, AT_ONCE):
        small, large = (Scale.of(side, study) for side in draw(study, min(AT_ONCE, number - start), rng))
        for name, values in judge(study, small, large, rng).items():
            said.setdefault(name, []).append(values)
    found = {name: np.concatenate(values).astype(float) for name, values in said.items()}
    shares = {
        name: round(float(values.mean()), 4) for name, values in found.items() if name not in ("variance", "seen")
    }
    error = found["variance"].std() / np.sqrt(number)
    return {
        "key": key(study),
        "name": study.name,
        "what": study.what,
        "sd": list(study.sd),
        "held": study.held,
        "equal": study.sd[0] == study.sd[1],
        "seen": round(float(np.sqrt(found["seen"].mean())), 5),
        "bias": round(float((found["variance"].mean() - study.sd[0] ** 2) / error), 2),  # in its standard errors
        **shares,
    }


def size(results: list[dict[str, Any]]) -> float:
    """The largest share said to spread less that doesn't, over the kinds that are held to the goal."""
    return max((float(r["smaller"]) for r in results if r["held"] and r["equal"]), default=float("nan"))


def power(results: list[dict[str, Any]]) -> float:
    """The share seen of halved spreads, with 5 seeds at 4 counts."""
    return next((float(r["smaller"]) for r in results if r["key"] == f"{HALVED}: 5 seeds, 4 counts"), float("nan"))


def table(results: list[dict[str, Any]]) -> str:
    """Shares in %, a line a kind."""
    head = ["study", "of", "sd", "seen", "covers", "seen covers", "bootstrap covers", "ratio covers", "smaller"]
    head += ["smaller as seen", "permuted"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for r in results:
        sd = " → ".join(f"{100 * value:.1f}" for value in dict.fromkeys(r["sd"]))
        shares = [f"{100 * r[name]:.1f}" if name in r else "–" for name in ("seen", *SHARES)]
        lines.append(f"| {' | '.join([r['name'], r['what'], sd, *shares])} |")
    return "\n".join(lines)
