"""Learning curves, a panel a backbone: the mean validation score of a series by step, and the range of its runs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from orchestrator.reporting.charts import theme
from orchestrator.reporting.charts.theme import Row, Spec

_WHOLE = "datum.value % 1 ? '' : datum.label"  # there is no half step


def learning(rows: Sequence[Row], panels: Sequence[str], series: Sequence[str], description: str) -> Spec:
    """The figure of one task; ``series`` are the lines' names in order, at most one a colour and dash."""
    return theme.finished(_structure(tuple(panels), tuple(series)), rows, description)


@lru_cache
def _structure(panels: tuple[str, ...], series: tuple[str, ...]) -> Spec:
    """The figure without data."""
    import altair as alt

    names = list(series)
    dashes = [[1, 0] if "adjacent" not in name else [5, 3] for name in names]
    colour = alt.Color("series:N", sort=names, scale=alt.Scale(domain=names), legend=alt.Legend(columns=5))
    dash = alt.StrokeDash(
        "series:N", sort=names, scale=alt.Scale(domain=names, range=dashes), legend=alt.Legend(columns=5)
    )
    shown = alt.selection_point(name="shown", fields=["series"], bind="legend", toggle="true")
    x = alt.X("step:Q", axis=alt.Axis(format="~s", tickCount=6, labelExpr=_WHOLE))
    y = alt.Y("mean:Q", title="validation score", scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=6))
    told = [
        *(alt.Tooltip("series:N"), alt.Tooltip("count:Q", format=",d"), alt.Tooltip("step:Q")),
        alt.Tooltip("n:Q", title="runs"),
        *(alt.Tooltip(f"{name}:Q", format=".4f") for name in ("mean", "min", "max")),
    ]
    faded = alt.when(shown).then(alt.value(1)).otherwise(alt.value(0.06))
    base = alt.Chart().encode(x=x, color=colour, detail="line:N")
    range_ = alt.Chart().transform_filter(shown).encode(x=x, detail="line:N")
    chart = alt.layer(
        range_.mark_area(opacity=0.1).encode(y=alt.Y("min:Q"), y2="max:Q", color=colour),
        base.mark_line(strokeWidth=2).encode(y=y, strokeDash=dash, opacity=faded),
        base.mark_circle(size=26).encode(y=y, tooltip=told, opacity=faded).add_params(shown),
        data=alt.NamedData(theme.DATA),
    ).properties(width=theme.width(len(panels)), height=theme.HEIGHT)
    facets = chart.facet(facet=alt.Facet("panel:N", sort=list(panels), title=None), columns=theme.across(len(panels)))
    return theme.structure(facets.resolve_axis(x="independent"))
