"""Low and high threshold of one curve: brackets with their evidence, or in words why not and what would help.

The tests are those of :mod:`orchestrator.analysis.evidence`. **Runs without a score**: a replicate that diverged before
it had one counts at chance; a full fine-tuning run without one is left out, since a lower reference would make a claim
easier. Failed trials are missing, not bad: they are left out and mentioned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from orchestrator.analysis.advice import advice
from orchestrator.analysis.contrast import Contrast, p_value
from orchestrator.analysis.curves import Curve
from orchestrator.analysis.evidence import LEAST_FULL, Runs, joint, learnt_p, within
from orchestrator.analysis.material import PAPER, Material
from orchestrator.analysis.sequence import Threshold, bracket

REFERENCES = ("the constant answer", "the untrained module")
AGAIN = "run the sweep into a new store, since rows keep what they were written with"


def low_threshold(curve: Curve, found: Material, floor: str, alpha: float) -> Threshold:
    """The smallest count from which all are shown to be above what learning nothing scores.

    Args:
        curve: the curve.
        found: :func:`orchestrator.analysis.material.material` of it.
        floor: as there.
        alpha: level of each test.
    """
    if reason := _untestable(curve, found):
        return Threshold(reason=reason)
    if curve.chance is None and floor == PAPER:
        return Threshold(reason="the rows have no chance level, so there is no floor to be above")
    gains = found.gains
    if not gains and floor == PAPER:
        return Threshold(reason=f"{found.why}, nor do they say how many test rows there were: {AGAIN}")
    if not gains:
        paper = "--floor chance needs none, the paper's rule" if curve.chance is not None and curve.test_rows else ""
        nothing = "so nothing says on which rows they beat a constant answer and the untrained module"
        return Threshold(reason=f"{found.why}, {nothing}: {AGAIN}{f'; {paper}' if paper else ''}")
    said = bracket(found.counts, joint(gains).tolist(), alpha)
    return said if said.upper is not None else replace(said, reason=_low_reason(curve, found, gains, floor, alpha))


def _low_reason(curve: Curve, found: Material, gains: list[list[Contrast]], floor: str, alpha: float) -> str:
    """Why the largest count isn't shown above, by the reference that it fails worst."""
    p = [float(p_value(of[-1])) for of in gains]
    worst = int(np.argmax(p))
    top, point = gains[worst][-1], found.points[-1]
    several = REFERENCES if len(gains) == 2 else REFERENCES[1:]
    what = f"chance {curve.chance:.3f}" if floor == PAPER else several[worst]
    mean = float(top.mean)
    why = f"at {point.count} the mean is {abs(mean):.3f} {'above' if mean > 0 else 'below'} {what}"
    return _with_advice(f"{why}, which isn't shown (p = {p[worst]:.2f})", top, mean, alpha, point.n, point.count)


def high_threshold(curve: Curve, found: Material, floor: str, alpha: float, margin: float) -> Threshold:
    """The smallest count from which all are shown to be at most ``margin`` below full fine-tuning."""
    reason = _untestable(curve, found) or _no_reference(curve)
    if reason:
        return Threshold(reason=reason)
    full = found.full
    if found.why or isinstance(full, str):
        whose = f"{found.why}" if found.why else f"full fine-tuning: {full}"
        return Threshold(reason=f"{whose}, so nothing says on how many rows the two disagree: {AGAIN}")
    if (learnt := float(learnt_p(full, margin))) >= alpha:
        return Threshold(reason=_nothing_learnt(curve, full, margin, learnt, floor, alpha))
    said = bracket(found.counts, within(found.beside, margin).tolist(), alpha)
    if said.upper is not None:
        return said
    top, point = found.beside[-1], found.points[-1]
    if any(not s.freedom for s in top.seeds):
        why = f"the largest count, {point.count}, has too few seeds with a score to know their spread"
        return replace(said, reason=f"{why}: run 3 or more seeds of it")
    why = (
        f"at {point.count} the mean is {abs(float(top.mean)):.3f} {'above' if top.mean > 0 else 'below'} full "
        f"fine-tuning's, which isn't shown to be within {margin:g} (n = {len(curve.full)}, p = {said.p_lower:.2f})"
    )
    above, what = float(top.mean) + margin, "seeds a count and as many full runs"
    return replace(said, reason=_with_advice(why, top, above, alpha, point.n, point.count, what))


def _with_advice(
    why: str, top: Contrast, above: float, alpha: float, n: int, count: int, what: str = "seeds a count"
) -> str:
    more = advice(top, above, alpha, n, what)
    return f"{why}: run counts above {count}{f'; {more}' if more else ''}"


def _untestable(curve: Curve, found: Material) -> str:
    """Why no count can be tested; '' when some can."""
    if not any(p.scores for p in found.points):
        return "no run has a test score: `apet status` says what is failed or missing"
    if any(len(p.scores) > 1 for p in found.points):
        return ""
    seeds = "one seed a count" if curve.replicates == 1 else "no count has two seeds with a score"
    return f"{seeds}, so the noise is unknown: run 3 or more position seeds"


def _no_reference(curve: Curve) -> str:
    """Why there is no full fine-tuning to compare with; '' when there is."""
    runs = len(curve.full)
    if runs >= LEAST_FULL:
        return ""
    have = f"{runs} full fine-tuning run{'' if runs == 1 else 's'} with these settings"
    if not runs:
        nearest = f" (there are some with {curve.near})" if curve.near else ""
        have = f"no full fine-tuning run with these settings{nearest}"
    lost = f", {curve.full_unscored} without a score" if curve.full_unscored else ""
    lost += f", {curve.full_failed} failed" if curve.full_failed else ""
    missing = LEAST_FULL - runs
    more = f"{missing}{' more' if runs else ''} train seed{'' if missing == 1 else 's'}"
    why = ", and two may agree by luck" if runs == LEAST_FULL - 1 else ""
    return f"{have}{lost}{why}: run method full with {more} or more"


def _nothing_learnt(curve: Curve, full: Runs, margin: float, p: float, floor: str, alpha: float) -> str:
    contrasts: Sequence[Contrast] = full.gains()
    worst = max(contrasts, key=lambda c: float(p_value(c, -margin)))
    mean = sum(curve.full) / len(curve.full)
    why = (
        f"full fine-tuning ({mean:.3f}) isn't shown to be more than {margin:g} above learning nothing "
        f"({curve.floor(floor) or 0:.3f}; p = {p:.2f}), so a module that learnt nothing would pass"
    )
    more = advice(worst, float(worst.mean) - margin, alpha, len(curve.full), "full runs")
    return f"{why}: train full fine-tuning better (steps, learning rate){f'; {more}' if more else ''}"
