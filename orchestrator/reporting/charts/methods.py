"""Methods side by side, a panel a backbone: every run as a dot (``layer`` ``run``), a bar at the mean (``mean``)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from orchestrator.reporting.charts import theme
from orchestrator.reporting.charts.count import run_tooltip
from orchestrator.reporting.charts.theme import Row, Spec


def methods(rows: Sequence[Row], panels: Sequence[str], kinds: Sequence[str], description: str) -> Spec:
    """The figure of one task; ``kinds`` are the methods in order."""
    names = tuple(dict.fromkeys(str(row["method"]) for row in rows))
    return theme.finished(
        _structure(tuple(panels), tuple(kinds), names, any(row.get("size") for row in rows)), rows, description
    )


@lru_cache
def _structure(panels: tuple[str, ...], kinds: tuple[str, ...], names: tuple[str, ...], sized: bool) -> Spec:
    """The figure without data."""
    import altair as alt

    axis = alt.Axis(title=None, labelLimit=260, labelFontSize=12, grid=False)
    y = alt.Y("kind:N", sort=list(kinds), axis=axis)
    x = alt.X(
        "score:Q", title="test score", scale=alt.Scale(zero=False, nice=True), axis=alt.Axis(grid=True, tickCount=5)
    )
    colour = alt.Color("method:N", sort=None, legend=alt.Legend(), scale=alt.Scale(domain=list(names)))
    shown = alt.selection_point(name="shown", fields=["method"], bind="legend", toggle="true")
    faded = alt.when(shown).then(alt.value(0.7)).otherwise(alt.value(0.06))
    of = {name: alt.Chart().transform_filter(alt.datum.layer == name) for name in ("run", "mean")}
    said = [
        *(
            alt.Tooltip("kind:N", title="method"),
            alt.Tooltip("count:Q", format=",d"),
            alt.Tooltip("n:Q", title="seeds"),
        ),
        *(alt.Tooltip("score:Q", title="mean", format=".4f"), alt.Tooltip("sd:Q", title="SD over seeds", format=".4f")),
    ]
    runs = (
        of["run"]
        .mark_circle(size=46, cursor="copy")
        .encode(x=x, y=y, color=colour, opacity=faded, tooltip=run_tooltip())
    )
    means = of["mean"].encode(x=x, y=y, color=colour, tooltip=said, opacity=faded)
    sizes = of["mean"].transform_filter("isValid(datum.size)").encode(x=x, y=y, text="size:N")
    chart = alt.layer(
        means.mark_tick(orient="vertical", thickness=2.6, height=20),
        runs.add_params(shown),
        *([sizes.mark_text(style="soft", align="left", dx=12, dy=-10, fontSize=10)] if sized else []),
        data=alt.NamedData(theme.DATA),
    ).properties(width=theme.width(len(panels)) - (90 if len(panels) > 1 else 0), height=alt.Step(32))
    facets = chart.facet(facet=alt.Facet("panel:N", sort=list(panels), title=None), columns=theme.across(len(panels)))
    return theme.structure(facets.resolve_axis(x="independent"))
