"""Where the thresholds lie: a line a curve with its tested counts, and a bar from end to end of each bracket.

The rows' ``layer`` is ``count`` (a tested count), ``bar`` (a bracket) or ``open`` (one that is unresolved).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from orchestrator.reporting.charts import theme
from orchestrator.reporting.charts.theme import Row, Spec

SIDES = ("low", "high")


def thresholds(rows: Sequence[Row], labels: Sequence[str], description: str) -> Spec:
    """The figure; ``labels`` are the curves, the rows in their order."""
    counts = [r["count"] for r in rows if r["layer"] == "count"]
    return theme.finished(
        _structure(len(labels), theme.counts_domain(counts), any(r["layer"] == "bar" for r in rows)), rows, description
    )


@lru_cache
def _structure(curves: int, domain: tuple[float, float], resolved: bool) -> Spec:
    """The figure without data."""
    import altair as alt

    x = alt.X("count:Q", scale=theme.counts_scale(domain), axis=theme.counts_axis())
    axis = alt.Axis(title=None, labelLimit=330, labelFontSize=12, grid=False)
    y = alt.Y("curve:N", sort=None, axis=axis, scale=alt.Scale(paddingInner=0.2))
    side = alt.YOffset("side:N", sort=list(SIDES), scale=alt.Scale(domain=list(SIDES), paddingInner=0.15))
    colour = alt.Color("side:N", scale=alt.Scale(domain=list(SIDES)), legend=alt.Legend(), sort=list(SIDES))
    shown = alt.selection_point(name="shown", fields=["side"], bind="legend", toggle="true")
    of = {name: alt.Chart().transform_filter(alt.datum.layer == name) for name in ("count", "bar", "open")}
    told = [
        *(alt.Tooltip("curve:N"), alt.Tooltip("side:N", title="threshold"), alt.Tooltip("said:N", title="bracket")),
        alt.Tooltip("evidence:N"),
    ]
    tested = [alt.Tooltip("curve:N"), alt.Tooltip("count:Q", format=",d"), alt.Tooltip("n:Q", title="seeds")]
    faded = alt.when(shown).then(alt.value(1)).otherwise(alt.value(0.08))
    bars = (
        of["bar"]
        .mark_bar(cornerRadius=1)
        .encode(x=x, x2="upper:Q", y=y, yOffset=side, color=colour, opacity=faded, tooltip=told)
    )
    unresolved = of["open"].encode(x=alt.value(700), y=y, yOffset=side, text="said:N", tooltip=told)
    chart = alt.layer(
        of["count"].mark_line(style="back", strokeWidth=1).encode(x=x, y=y, detail="curve:N"),
        of["count"].mark_tick(style="back", height=9, thickness=1.4).encode(x=x, y=y, tooltip=tested),
        *([bars.add_params(shown)] if resolved else []),
        unresolved.mark_text(style="soft", align="right", dx=-2),
        data=alt.NamedData(theme.DATA),
    )
    return theme.structure(chart.properties(width=700, height=44 * curves))
