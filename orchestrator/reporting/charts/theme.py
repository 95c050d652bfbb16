"""What all figures share: colours that colour-blind readers tell apart, sizes, and how a specification is finished.

The palette is that of Okabe and Ito (Color Universal Design, 2008), with a darker sky and a brown for its yellow on
white, and lighter ones of the same hues on black. On the page colours are CSS variables, so that light, dark and paper
need no new drawing; files have those of the light page.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import altair as alt

Spec = dict[str, Any]
Row = Mapping[str, Any]
WIDTHS = {1: 760, 2: 462, 3: 292}  # of a panel, by how many stand side by side, in pixels
HEIGHT = 250
FONT = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
DATA = "rows"


@dataclass(frozen=True)
class Palette:
    """Colours of figures: of text, of what stands back, of lines, of the ground, and of what is compared."""

    ink: str
    soft: str
    back: str
    line: str
    ground: str
    c1: str
    c2: str
    c3: str
    c4: str
    c5: str
    c6: str
    c7: str
    c8: str

    @property
    def compared(self) -> list[str]:
        """The eight that tell series apart."""
        return [self.c1, self.c2, self.c3, self.c4, self.c5, self.c6, self.c7, self.c8]


LIGHT = Palette(
    *("#1c2430", "#566170", "#8b95a3", "#e4e8ed", "#ffffff"),
    *("#0072b2", "#d55e00", "#00886a", "#b4528f", "#a6761d", "#3597d3", "#6b4fa0", "#4a5563"),
)
DARK = Palette(
    *("#e8ecf2", "#a7b1bf", "#7c8796", "#303945", "#171c24"),
    *("#5db8f5", "#ff9248", "#35cfa3", "#f08fc4", "#e3b341", "#a5dcff", "#bba6f2", "#c3ccd8"),
)
PAGE = Palette(**{name: f"var(--{name})" for name in asdict(LIGHT)})


def variables(palette: Palette) -> str:
    """The colours as CSS declarations."""
    return " ".join(f"--{name}: {value};" for name, value in asdict(palette).items())


def config(palette: Palette) -> Spec:
    """How every figure looks, as a Vega-Lite configuration."""
    small = {"labelColor": palette.soft, "labelFontSize": 11, "titleColor": palette.ink, "titleFontSize": 12}
    quiet = {"gridColor": palette.line, "domainColor": palette.back, "tickColor": palette.back, "tickSize": 4}
    return {
        "font": FONT,
        "background": None,
        "aria": False,  # a label a mark would be most of a file; the page says in words what a figure shows
        "padding": 4,
        "view": {"stroke": None},
        "axis": {**small, **quiet, "titleFontWeight": 500, "titlePadding": 9, "labelPadding": 4},
        "axisX": {"grid": False, "labelFlush": False},
        "axisY": {"domain": False, "ticks": False},
        "legend": {
            **small,
            "labelColor": palette.ink,
            "orient": "top",
            "direction": "horizontal",
            "titleOrient": "left",
        }
        | {"symbolSize": 90, "columnPadding": 18, "symbolOpacity": 1, "labelLimit": 320, "offset": 12, "title": None},
        "header": {"labelColor": palette.ink, "labelFontSize": 13, "labelFontWeight": 600, "labelAnchor": "start"}
        | {"labelPadding": 8, "title": None, "labelLimit": 420},
        "facet": {"spacing": {"row": 26, "column": 34}},
        "range": {"category": palette.compared, "heatmap": {"scheme": "viridis"}, "ramp": {"scheme": "viridis"}},
        "text": {"color": palette.ink, "fontSize": 11},
        "style": {
            "soft": {"color": palette.soft},
            "back": {"color": palette.back},
            "ink": {"color": palette.ink},
            "line": {"color": palette.line},
            "ground": {"color": palette.ground},
        },
    }


@contextmanager
def unchecked() -> Iterator[None]:
    """Inside, Altair checks nothing against Vega-Lite's schema: a test does, and it takes longer than all the rest."""
    from altair.utils.schemapi import debug_mode

    with debug_mode(False):
        yield


def structure(chart: alt.TopLevelMixin) -> Spec:
    """A chart over the named data :data:`DATA` as a specification without data; colours come with :func:`config`."""
    spec: Spec = _plain(chart.to_dict(validate=False))
    spec.pop("config", None)  # Altair's own
    return spec


def finished(spec: Spec, rows: Iterable[Row], description: str) -> Spec:
    """A specification with its data, for the page and for files.

    Args:
        spec: of :func:`structure`; figures that differ in nothing but data share one, since Altair takes its time.
        rows: the data.
        description: what a screen reader says.
    """
    return {**spec, "description": description, "datasets": {DATA: [_finite(row) for row in rows]}}


def _finite(row: Row) -> Spec:
    """A row as a figure needs it: no field that isn't there, six digits (the CSV has all)."""
    kept = ((k, float(f"{v:.6g}") if isinstance(v, float) else v) for k, v in row.items() if v is not None)
    return {k: _plain(v) for k, v in kept if not (isinstance(v, float) and not math.isfinite(v))}


def _plain(value: Any) -> Any:
    """The same with texts in one line: orders of texts become expressions, whose texts have no line break."""
    if isinstance(value, str):
        return re.sub(r"[\x00-\x1f\x7f\x85\u2028\u2029]+", " ", value)
    if isinstance(value, dict):
        return {_plain(k): _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list) else value


def packed(spec: Spec) -> Spec:
    """A specification with its data by column, each text once: a quarter of the size. The page's script unpacks it."""
    rows: list[Row] = spec["datasets"][DATA]
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: _column([row.get(name) for row in rows]) for name in names}
    return {**spec, "datasets": {DATA: {"rows": len(rows), "columns": columns}}}


def _column(values: list[Any]) -> Any:
    """Values, or the different ones and where each stands."""
    if not any(isinstance(value, str) for value in values):
        return values
    different = list(dict.fromkeys(values))
    at = {value: i for i, value in enumerate(different)}
    return {"of": different, "at": [at[value] for value in values]} if 2 * len(different) < len(values) else values


def to_json(spec: Any) -> str:
    """JSON that can stand in a script element, whatever its texts say."""
    text = json.dumps(spec, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def across(panels: int) -> int:
    """How many panels stand side by side."""
    return 2 if panels in (2, 4) else min(panels, 3)


def width(panels: int) -> int:
    """Of a panel, in pixels, so that a row of them is as wide as the page."""
    return WIDTHS[across(panels)]


def counts_axis(title: str = "tunable parameters") -> alt.Axis:
    """Of a logarithmic scale of parameter counts: 100, 1k, 1M."""
    import altair as alt

    return alt.Axis(title=title, format="~s", tickCount=5)


def counts_domain(counts: Sequence[float]) -> tuple[float, float]:
    """From the smallest to the largest, with a little room at both ends."""
    return min(counts) / 1.4, max(counts) * 1.4


def counts_scale(domain: tuple[float, float]) -> alt.Scale:
    """Logarithmic."""
    import altair as alt

    return alt.Scale(type="log", domain=list(domain), nice=False)
