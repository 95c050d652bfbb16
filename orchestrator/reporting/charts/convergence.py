"""Steps to a share of full fine-tuning's score against count, a panel a task: medians, fastest and slowest seed.

Every row has ``panel``, ``series``, ``count``, ``state`` (``reached`` by half of the runs or more, or ``not reached``),
``steps`` (the median; of ``not reached`` as many as there were), ``least`` and ``most``, and ``said``.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.reporting.charts import theme
from orchestrator.reporting.charts.theme import Row, Spec

STATES = {"reached": "circle", "not reached": "triangle-up"}


def convergence(rows: Sequence[Row], panels: Sequence[str], description: str) -> Spec:
    """The figure; ``panels`` are the tasks in order."""
    import altair as alt

    series = list(dict.fromkeys(str(row["series"]) for row in rows))
    states = [state for state in STATES if any(row["state"] == state for row in rows)]
    shown = alt.selection_point(name="shown", fields=["series"], bind="legend", toggle="true")
    faded = alt.when(shown).then(alt.value(1)).otherwise(alt.value(0.06))
    x = alt.X(
        "count:Q",
        scale=theme.counts_scale(theme.counts_domain([row["count"] for row in rows])),
        axis=theme.counts_axis(),
    )
    title = "steps"
    scale = alt.Scale(type="log", padding=12, nice=False)
    y = alt.Y("steps:Q", title=title, scale=scale, axis=alt.Axis(format="~s", tickCount=5))
    colour = alt.Color("series:N", scale=alt.Scale(domain=series), legend=alt.Legend(columns=4))
    shapes = alt.Scale(domain=states, range=[STATES[state] for state in states])
    told = [
        *(alt.Tooltip("series:N", title="module"), alt.Tooltip("count:Q", format=",d")),
        *(alt.Tooltip("steps:Q", title="median steps"), alt.Tooltip("least:Q", title="fastest seed")),
        *(alt.Tooltip("most:Q", title="slowest seed"), alt.Tooltip("said:N", title="reached by")),
    ]
    base = alt.Chart().encode(x=x, color=colour, opacity=faded, tooltip=told)
    reached = base.transform_filter(alt.datum.state == "reached")
    chart = alt.layer(
        reached.mark_line(strokeWidth=1.8).encode(y=y),
        base.transform_filter("isValid(datum.most)").mark_rule(strokeWidth=1.4).encode(y=alt.Y("least:Q"), y2="most:Q"),
        base.mark_point(filled=True, size=58)
        .encode(y=y, shape=alt.Shape("state:N", scale=shapes, legend=alt.Legend()))
        .add_params(shown),
        data=alt.NamedData(theme.DATA),
    ).properties(width=theme.width(len(panels)), height=theme.HEIGHT)
    facets = chart.facet(facet=alt.Facet("panel:N", sort=list(panels), title=None), columns=theme.across(len(panels)))
    return theme.finished(theme.structure(facets.resolve_axis(x="independent")), rows, description)
