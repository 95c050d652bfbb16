"""Matrices of relative performance, a panel a backbone and module: trained on the line's task, scored on the column's.

Every row has ``panel``, ``source``, ``target``, ``relative`` (null where there is no reference), ``same`` (of one
category), and for hovering ``score``, ``reference``, ``floor``, ``runs``, ``said``.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.reporting.charts import theme
from orchestrator.reporting.charts.theme import Row, Spec

CELL = 38  # pixels


def transfer(rows: Sequence[Row], tasks: Sequence[str], description: str) -> Spec:
    """The figure; ``tasks`` in order, those of a category beside each other."""
    import altair as alt

    panels = list(dict.fromkeys(str(row["panel"]) for row in rows))
    known = [row["relative"] for row in rows if row["relative"] is not None]
    top = max([1.0, *known])
    axis = alt.Axis(domain=False, ticks=False, labelLimit=110)
    x = alt.X("target:N", sort=list(tasks), title="scored on", axis=alt.Axis(**axis.to_dict(), labelAngle=-40))
    y = alt.Y("source:N", sort=list(tasks), title="trained on", axis=axis)
    legend = alt.Legend(title="relative performance", gradientLength=180, format=".1f", titleLimit=200)
    colour = alt.Color("relative:Q", scale=alt.Scale(domain=[min([0.0, *known]), top], scheme="viridis"), legend=legend)
    told = [
        *(alt.Tooltip("source:N", title="trained on"), alt.Tooltip("target:N", title="scored on")),
        *(alt.Tooltip(f"{name}:Q", format=".3f") for name in ("relative", "score", "reference", "floor")),
        *(alt.Tooltip("runs:Q"), alt.Tooltip("said:N", title="note")),
    ]
    base = alt.Chart().encode(x=x, y=y, tooltip=told)
    dark = alt.datum.relative < 0.62 * top
    written = base.transform_filter("isValid(datum.relative)").encode(text=alt.Text("relative:Q", format=".2f"))
    chart = alt.layer(
        base.transform_filter("isValid(datum.relative)").mark_rect().encode(color=colour),
        base.transform_filter("!isValid(datum.relative)").mark_text(text="–", style="soft"),
        base.transform_filter(alt.datum.same).mark_rect(filled=False, style="ink", strokeWidth=1.4),
        written.transform_filter(dark).mark_text(color="#ffffff", fontSize=10.5),
        written.transform_filter(~dark).mark_text(color="#10151c", fontSize=10.5),
        data=alt.NamedData(theme.DATA),
    ).properties(width=CELL * len(tasks), height=CELL * len(tasks))
    columns = max(1, 900 // (CELL * len(tasks) + 110))
    facets = chart.facet(facet=alt.Facet("panel:N", sort=panels, title=None), columns=columns)
    return theme.finished(theme.structure(facets.resolve_axis(x="independent", y="independent")), rows, description)
