"""Score against tunable-parameter count, a panel a backbone: runs, their fit, the levels around them, the brackets.

The rows say by ``layer`` which mark they are for: ``run``, ``fit``, ``mean``, ``full``, ``level``, ``bracket``,
``end``, ``side`` and ``method``; all of them have a ``panel``, and what belongs to a curve has its ``kind``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from orchestrator.reporting.charts import theme
from orchestrator.reporting.charts.theme import Row, Spec

if TYPE_CHECKING:
    import altair as alt


def count(rows: Sequence[Row], panels: Sequence[str], description: str) -> Spec:
    """The figure of one task.

    Args:
        rows: as above.
        panels: their titles, in order.
        description: for screen readers.
    """
    kinds = tuple(dict.fromkeys(str(r["kind"]) for r in rows if r["layer"] == "fit"))
    counts = [r["count"] for r in rows if r.get("count") and r["layer"] in ("run", "fit", "method")]
    layers = frozenset([*(str(r["layer"]) for r in rows), *("below" for r in rows if r.get("below"))])
    return theme.finished(_structure(tuple(panels), kinds, layers, theme.counts_domain(counts)), rows, description)


@lru_cache
def _structure(
    panels: tuple[str, ...], kinds: tuple[str, ...], there: frozenset[str], domain: tuple[float, float]
) -> Spec:
    """The figure without data; a layer of no rows would have no scale, and isn't there."""
    import altair as alt

    shown = alt.selection_point(name="shown", fields=["kind"], bind="legend", toggle="true")
    x = alt.X("count:Q", scale=theme.counts_scale(domain), axis=theme.counts_axis())
    legend = alt.Legend() if len(kinds) > 1 else None
    colour = alt.Color("kind:N", scale=alt.Scale(domain=list(kinds)), legend=legend)
    layers = [
        *(_full() if "full" in there else ()),
        *(_levels("below" in there) if "level" in there else ()),
        *_curves(x, colour, shown),
        *(_brackets(x, colour, shown) if "bracket" in there else ()),
        *(_methods(x) if "method" in there else ()),
    ]
    chart = alt.layer(*layers, data=alt.NamedData(theme.DATA)).properties(
        width=theme.width(len(panels)), height=theme.HEIGHT
    )
    facets = chart.facet(facet=alt.Facet("panel:N", sort=list(panels), title=None), columns=theme.across(len(panels)))
    return theme.structure(facets.resolve_axis(x="independent"))


def _of(layer: str) -> alt.Chart:
    import altair as alt

    return alt.Chart().transform_filter(alt.datum.layer == layer)


def _score(field: str = "score") -> alt.Y:
    import altair as alt

    return alt.Y(f"{field}:Q", title="test score", scale=alt.Scale(zero=False, padding=14), axis=alt.Axis(tickCount=6))


_TEXT: dict[str, Any] = {"align": "left", "baseline": "bottom", "dx": 3, "dy": -3, "fontSize": 10.5}


def _told() -> list[alt.Tooltip]:
    import altair as alt

    level = alt.Tooltip("label:N", title="level")
    return [level, alt.Tooltip("score:Q", format=".3f"), alt.Tooltip("n:Q", title="runs")]


def _full() -> list[alt.Chart]:
    """Full fine-tuning as a band across the panel."""
    import altair as alt

    full = _of("full").encode(tooltip=_told())
    return [
        full.mark_rect(opacity=0.2, style="back").encode(y=_score("lower"), y2="upper:Q"),
        full.mark_rule(style="ink", strokeWidth=1.1).encode(y=_score()),
        full.mark_text(style="ink", **_TEXT).encode(y=_score("upper"), x=alt.value(0), text="label:N"),
    ]


def _levels(two: bool) -> list[alt.Chart]:
    """What learning nothing scores, as dashed lines; their names at the right, where curves aren't low."""
    import altair as alt

    level = _of("level").encode(y=_score(), tooltip=_told())
    name = level.encode(text="label:N", x=alt.value("width"))
    above = {**_TEXT, "align": "right", "dx": -2}
    under = name.transform_filter(alt.datum.below).mark_text(style="soft", **{**above, "baseline": "top", "dy": 3})
    return [
        level.mark_rule(style="back", strokeDash=[5, 4]),
        name.transform_filter(~alt.datum.below).mark_text(style="soft", **above),
        *([under] if two else []),
    ]


def _curves(x: alt.X, colour: alt.Color, shown: alt.Parameter) -> list[alt.Chart]:
    """Band and line of the fit, the means, and every run."""
    import altair as alt

    fit, band = _of("fit").encode(x=x, color=colour), _of("fit").transform_filter(shown)
    mean = _of("mean").encode(x=x, color=colour, y=_score())
    means = [
        *(
            alt.Tooltip("kind:N", title="module"),
            alt.Tooltip("count:Q", format=",d"),
            alt.Tooltip("n:Q", title="seeds"),
        ),
        *(alt.Tooltip("score:Q", title="mean", format=".4f"), alt.Tooltip("sd:Q", title="SD over seeds", format=".4f")),
    ]
    run = _of("run").mark_circle(size=34, cursor="copy").encode(x=x, y=_score(), color=colour, tooltip=run_tooltip())
    return [
        band.mark_area(opacity=0.16).encode(x=x, y=_score("fit_lower"), y2="fit_upper:Q", color=colour),
        fit.mark_line(strokeWidth=2.6).encode(y=_score("fit"), opacity=_opacity(shown, 1)),
        mean.mark_tick(width=13, thickness=1.6, orient="horizontal").encode(tooltip=means, opacity=_opacity(shown, 1)),
        run.encode(opacity=_opacity(shown, 0.7)).add_params(shown),
    ]


def _opacity(shown: alt.Parameter, value: float) -> Any:
    import altair as alt

    return alt.when(shown).then(alt.value(value)).otherwise(alt.value(0.05))


def _brackets(x: alt.X, colour: alt.Color, shown: alt.Parameter) -> list[alt.Chart]:
    """Along the fit from a bracket's lower to its upper count: a wide band of light, ends, and which one it is."""
    import altair as alt

    told = [alt.Tooltip("said:N", title="threshold"), alt.Tooltip("kind:N", title="module")]
    along = _of("bracket").encode(x=x, y=_score(), tooltip=told, detail=["kind:N", "side:N"], color=colour)
    ends = _of("end").encode(x=x, y=_score(), color=colour, opacity=_opacity(shown, 1), tooltip=told)
    return [
        along.mark_line(strokeWidth=12, strokeCap="butt").encode(opacity=_opacity(shown, 0.34)),
        ends.mark_tick(orient="vertical", height=22, thickness=2.4),
        _of("side")
        .mark_text(dx=11, dy=3, align="left", fontWeight=600, fontSize=11.5)
        .encode(x=x, y=_score(), text="side:N", color=colour, opacity=_opacity(shown, 1)),
    ]


def _methods(x: alt.X) -> list[alt.Chart]:
    """Methods with a size of their own, at their count: mean, and one standard deviation to both sides."""
    import altair as alt

    told = [
        *(
            alt.Tooltip("label:N", title="method"),
            alt.Tooltip("count:Q", format=",d"),
            alt.Tooltip("n:Q", title="seeds"),
        ),
        *(alt.Tooltip("score:Q", title="mean", format=".4f"), alt.Tooltip("sd:Q", title="SD over seeds", format=".4f")),
    ]
    method = _of("method").encode(x=x, tooltip=told)
    return [
        method.mark_rule(style="ink").encode(y=_score("lower"), y2="upper:Q"),
        method.mark_point(style="ink", filled=True, size=62, shape="diamond", opacity=1).encode(y=_score()),
        method.mark_text(style="ink", dy=14, fontSize=10.5).encode(y=_score("lower"), text="label:N"),
    ]


def run_tooltip() -> list[alt.Tooltip]:
    """What hovering over a run says: seeds, count, trial."""
    import altair as alt

    return [
        alt.Tooltip("kind:N", title="module"),
        alt.Tooltip("count:Q", format=",d"),
        alt.Tooltip("score:Q", format=".4f"),
        alt.Tooltip("rate:N", title="learning rate"),
        alt.Tooltip("position_seed:N", title="position seed"),
        alt.Tooltip("train_seed:N", title="train seed"),
        *(alt.Tooltip("state:N"), alt.Tooltip("trial:N")),
    ]
