"""The tests behind the thresholds: a fixed sequence of counts, from the largest down.

**Low**: the smallest count whose mean score is shown to be above the floor. One-sided t-tests with the variance
pooled over all counts, from the largest count down, stopping at the first that isn't rejected: a fixed sequence,
so each test has the full α and no correction is needed.

**High**: the smallest count shown to be at most ``margin`` below full fine-tuning (non-inferiority), in the same
sequence. Welch's test: full fine-tuning has its own variance, and a count's is the pooled one or its own, whichever
is larger, because a count where some seeds collapse must not be judged by the calm of the others. (Simulated at the
margin, 10 counts, 3–5 seeds, 2–3 full runs: 4–9 % claims, where pooling full fine-tuning in gives up to 29 %.)

**Treatment of runs without a score.** A replicate that diverged before it had a score collapsed: it counts with the
score of chance in the mean and in the variance, but brings no degree of freedom. Both make a claim harder. A full
fine-tuning run without a score is left out, since a lower reference would make a claim easier. Failed trials are
missing, not bad: they are left out and mentioned.

**Test rows.** Every replicate is scored on the same rows, with the same frozen head, so that their luck is shared and
more seeds don't average it away: on the quickstart's 500 rows the untrained module scores 0.526–0.532 at a floor of
0.504 with a spread over seeds of 0.002, which pooled t alone calls above the floor at every count (p = 3e-5). The low
test therefore adds the binomial variance of the floor on that many rows to the squared standard error. The high test
needs none: both sides are scored on the same rows.

**Zero variance** (a noise-free step): without a number of test rows, a count is above when its mean is, exactly.

Source: DESIGN, Statistics; Su et al. 2023, Fig. 5, for the two thresholds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.analysis.curves import Curve

TINY = 1e-9  # differences of scores below this are rounding
POWER = 0.8  # of the advice on how many seeds would resolve a threshold
MOST_SEEDS = 30  # advice beyond this says that seeds are not the way


@dataclass(frozen=True)
class Threshold:
    """A bracket: ``lower`` is the largest count not shown above, ``upper`` the smallest shown above.

    ``lower`` is 0 where every count is above (below the grid). Both are None where nothing could be shown; then
    ``reason`` says why and what would resolve it. ``p_upper`` and ``p_lower`` are the one-sided p-values of the two
    counts, None where there was no test.
    """

    lower: int | None = None
    upper: int | None = None
    p_lower: float | None = None
    p_upper: float | None = None
    reason: str = ""

    @property
    def state(self) -> str:
        """``bracket``, ``below the grid`` or ``unresolved``."""
        if self.upper is None:
            return "unresolved"
        return "bracket" if self.lower else "below the grid"

    def __str__(self) -> str:
        if self.upper is None:
            return "unresolved"
        return f"({self.lower}, {self.upper}]" + ("" if self.lower else " below the grid")


@dataclass(frozen=True)
class _Sample:
    """One count as the tests see it. ``squares`` is the sum of squares around the mean, ``freedom`` its degrees."""

    count: int
    n: int
    mean: float
    squares: float
    freedom: int


def _samples(curve: Curve, floor: float) -> list[_Sample]:
    """The counts with a result, largest first; unscored replicates at chance (see the module's text)."""
    bottom = curve.chance if curve.chance is not None else floor
    samples = []
    for p in curve.points:
        scores = [*p.scores.values(), *[bottom] * p.unscored]
        if scores:
            mean = math.fsum(scores) / len(scores)
            squares = math.fsum((s - mean) ** 2 for s in scores)
            samples.append(_Sample(p.count, len(scores), mean, squares, max(0, len(p.scores) - 1)))
    return samples[::-1]


def _pooled(samples: list[_Sample]) -> tuple[float, int]:
    """Variance pooled over counts, and its degrees of freedom (0: no count has two scores)."""
    freedom = sum(s.freedom for s in samples)
    variance = math.fsum(s.squares for s in samples) / freedom if freedom else math.nan
    return (0.0 if variance < TINY**2 else variance), freedom


def _unreplicated(curve: Curve) -> str:
    if not any(p.scores for p in curve.points):
        return "no run has a test score: `apet status` says what is failed or missing"
    seeds = "one seed a count" if curve.replicates == 1 else "no count has two seeds with a score"
    return f"{seeds}, so the noise is unknown: run 3 or more position seeds"


def low_threshold(curve: Curve, floor: float | None, alpha: float = 0.05) -> Threshold:
    """The smallest count whose mean is shown to be above ``floor``."""
    from scipy.stats import norm, t

    if not any(p.n for p in curve.points):
        return Threshold(reason=_unreplicated(curve))
    if floor is None:
        return Threshold(reason="the rows have no chance level, so there is no floor to be above")
    samples = _samples(curve, floor)
    variance, freedom = _pooled(samples)
    if not freedom:
        return Threshold(reason=_unreplicated(curve))

    shared = _rows_variance(floor, curve.test_rows)

    def p_value(s: _Sample) -> float:
        return _tail(s.mean - floor, math.sqrt(variance / s.n + shared), freedom)

    def seeds(n: int) -> float:
        quantiles = t.ppf(1 - alpha, len(samples) * (n - 1)) + t.ppf(POWER, len(samples) * (n - 1))
        return float(quantiles * math.sqrt(variance / n + shared))

    found = _sequence(samples, p_value, alpha)
    if found.upper is None:
        top = samples[0]
        why = f"mean {top.mean:.3f} at {top.count} isn't shown above the floor {floor:.3f} (p = {found.p_lower:.2f})"
        rise = top.mean - floor
        if rise > TINY and (norm.ppf(1 - alpha) + norm.ppf(POWER)) * math.sqrt(shared) >= rise:
            rows = f"more seeds won't tell it from the luck of {curve.test_rows} test rows, which they share"
            return _because(found, why, f"run counts above {top.count}, or use more test rows; {rows}")
        return _because(found, why, _advice(rise, seeds, top, "seeds a count"))
    return found


def _rows_variance(floor: float, test_rows: int | None) -> float:
    """Variance that all replicates share: of a constant guesser's score on these test rows (binomial).

    0 where the number of rows is unknown, and where the floor is 0: text that nobody guesses has no lucky rows.
    """
    return floor * (1 - floor) / test_rows if test_rows else 0.0


def high_threshold(curve: Curve, floor: float | None, alpha: float = 0.05, margin: float = 0.02) -> Threshold:
    """The smallest count shown to be at most ``margin`` below full fine-tuning."""
    from scipy.stats import t

    reason = _no_reference(curve, floor, margin) if any(p.n for p in curve.points) else _unreplicated(curve)
    if reason or floor is None:
        return Threshold(reason=reason)
    samples = _samples(curve, floor)
    pooled, freedom = _pooled(samples)
    if not freedom:
        return Threshold(reason=_unreplicated(curve))
    runs, mean = len(curve.full), math.fsum(curve.full) / len(curve.full)
    full_variance = math.fsum((s - mean) ** 2 for s in curve.full) / (runs - 1)
    bar = mean - margin

    def variance(s: _Sample) -> float:
        return max(pooled, s.squares / s.freedom if s.freedom else 0.0)

    def p_value(s: _Sample) -> float:
        mine, full = variance(s) / s.n, full_variance / runs
        welch = mine**2 / freedom + full**2 / (runs - 1)
        return _tail(s.mean - bar, math.sqrt(mine + full), (mine + full) ** 2 / welch if welch > 0 else freedom)

    def seeds(n: int) -> float:
        quantiles = t.ppf(1 - alpha, 2 * (n - 1)) + t.ppf(POWER, 2 * (n - 1))
        return float(quantiles * math.sqrt((variance(samples[0]) + full_variance) / n))

    found = _sequence(samples, p_value, alpha)
    if found.upper is None:
        top = samples[0]
        why = (
            f"mean {top.mean:.3f} at {top.count} isn't shown within {margin:g} of full fine-tuning's {mean:.3f} "
            f"(n = {runs}, p = {found.p_lower:.2f})"
        )
        return _because(found, why, _advice(top.mean - bar, seeds, top, "seeds a count and as many full runs"))
    return found


def _no_reference(curve: Curve, floor: float | None, margin: float) -> str:
    """Why full fine-tuning can't be a reference, with what would help; '' when it can."""
    runs = len(curve.full)
    if floor is None:
        return "the rows have no chance level, so nothing says that full fine-tuning learned anything"
    if runs < 2:
        have = (
            f"{runs} full fine-tuning run{'' if runs == 1 else 's'} with these settings"
            if runs
            else (
                "no full fine-tuning run with these settings"
                + (f" (there are some with {curve.near})" if curve.near else "")
            )
        )
        lost = f", {curve.full_unscored} without a score" if curve.full_unscored else ""
        lost += f", {curve.full_failed} failed" if curve.full_failed else ""
        return f"{have}{lost}: run method full with {2 - runs} more train seed{'s' if runs == 0 else ''} or more"
    mean = math.fsum(curve.full) / runs
    if mean - margin <= floor:
        return (
            f"full fine-tuning ({mean:.3f}) isn't more than {margin:g} above the floor {floor:.3f}, so a module that "
            "learned nothing would pass: train full fine-tuning better (steps, learning rate)"
        )
    return ""


def _tail(difference: float, error: float, freedom: float) -> float:
    """One-sided p-value of a difference with its standard error; exact where there is no error."""
    from scipy.stats import t

    if error == 0:
        return 0.0 if difference > TINY else 1.0
    return float(t.sf(difference / error, freedom))


def _sequence(samples: list[_Sample], p_value: Callable[[_Sample], float], alpha: float) -> Threshold:
    """Test from the largest count down and stop at the first that isn't rejected."""
    upper: int | None = None
    p_upper: float | None = None
    for sample in samples:
        p = p_value(sample)
        if p >= alpha:
            return Threshold(None if upper is None else sample.count, upper, p, p_upper)
        upper, p_upper = sample.count, p
    return Threshold(0, upper, None, p_upper)


def _because(found: Threshold, why: str, advice: str) -> Threshold:
    return Threshold(p_lower=found.p_lower, reason=f"{why}: {advice}")


def _advice(difference: float, needed: Callable[[int], float], top: _Sample, what: str) -> str:
    """How many seeds would show a difference of this size, were it real, with the power :data:`POWER`."""
    larger = f"run counts above {top.count}"
    if difference <= TINY:
        return larger
    for n in range(2, MOST_SEEDS + 1):
        if needed(n) <= difference:
            return f"{larger}, or about {max(n, top.n + 1)} {what} if this mean holds"
    return f"{larger}; this mean would need more than {MOST_SEEDS} {what}"
