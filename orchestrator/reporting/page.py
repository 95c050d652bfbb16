"""The page: one HTML file with its styles, scripts, drawings and numbers, that asks nothing of a network.

A content security policy says so to the browser: only the three scripts that are written here run, by their digests,
and nothing is fetched. Numbers and texts of the store stand in elements of data and in escaped text, never in a script.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from string import Template

from orchestrator.reporting.charts.theme import DARK, LIGHT, PAGE, config, packed, to_json, variables
from orchestrator.reporting.drawing import SCALE, javascript
from orchestrator.reporting.exhibit import Exhibit, Section
from orchestrator.reporting.names import anchor, safe

_LIGHT = "--page: #f5f6f8; --rule: #dde2e8; --link: #005a94; --warn: #8a5a00;"
_DARK = "--page: #0f131a; --rule: #2c3440; --link: #7cc4ff; --warn: #e3b341;"
MARK = '<meta name="generator" content="apet report">'


@dataclass(frozen=True)
class Page:
    """All that is on the page.

    Args:
        title: the heading.
        subtitle: what it is of.
        store: as commands take it, for those that a click copies.
        points: the sentences at its top.
        sections: in order.
        written: when, where it is written again while a sweep runs; ''.
    """

    title: str
    subtitle: str
    store: str
    points: Sequence[str]
    sections: Sequence[Section]
    written: str = ""

    def html(self) -> str:
        """The file."""
        scripts = {"early": _asset("early.js"), "vega": javascript(), "ours": _asset("page.js")}
        drawing = {"page": config(PAGE), "file": config(LIGHT), "ground": LIGHT.ground, "scale": SCALE}
        return Template(_asset("page.html")).substitute(
            policy=_policy(scripts.values()),
            mark=MARK,
            title=html.escape(self.title),
            subtitle=html.escape(self.subtitle),
            styles=styles(),
            written=self._written(),
            links="".join(f'<a href="#{s.anchor}">{html.escape(s.title)}</a>' for s in self.sections),
            summary=self._summary(),
            sections="\n".join(map(_section, self.sections)),
            settings=to_json({"store": self.store, **drawing}),
            **scripts,
        )

    def _written(self) -> str:
        if not self.written:
            return ""
        return (
            f'<p class="note" id="written">Written at {html.escape(self.written)}, and again while the sweep runs: '
            'reload for the newest. <label><input type="checkbox" id="reload"> reload every 30 s</label></p>'
        )

    def _summary(self) -> str:
        short = "".join(f"<li>{html.escape(p)}</li>" for p in self.points)
        return f'<section class="short"><h2>In short</h2><ul>{short}</ul></section>' if short else ""


def _policy(scripts: Iterable[str]) -> str:
    """Only these scripts run, and nothing is fetched."""
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:"


@cache
def _asset(name: str) -> str:
    return files("orchestrator.reporting").joinpath("assets", name).read_text(encoding="utf-8")


def styles() -> str:
    """CSS: the colours of light, dark and print, and the rest."""
    light, dark = f"{variables(LIGHT)} {_LIGHT}", f"{variables(DARK)} {_DARK}"
    return (
        f":root {{ color-scheme: light; {light} }}\n"
        f"@media screen {{ :root[data-theme=dark] {{ color-scheme: dark; {dark} }} }}\n{_asset('page.css')}"
    )


def _section(section: Section) -> str:
    """The exhibits; those that are one of several behind a choice."""
    title = html.escape(section.title)
    parts, asked = [f'<h2 id="{section.anchor}">{title}</h2>\n<p class="lead">{_text(section.lead)}</p>'], ""
    choices: dict[str, list[str]] = {}
    for one in section.exhibits:
        if one.choice[0]:
            choices.setdefault(one.choice[0], []).append(one.choice[1])
    for one in section.exhibits:
        what = one.choice[0]
        values = list(dict.fromkeys(choices.get(what, [])))
        if len(values) > 1 and what != asked:
            parts.append(_chooser(what, values))
            asked = what
        parts.append(_exhibit(one, len(values) > 1 and one.choice[1] != values[0]))
    return "<section>\n" + "\n".join(parts) + "\n</section>"


def _text(words: str) -> str:
    """Escaped, with what stands in backticks as code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", html.escape(words))


def _chooser(what: str, values: Sequence[str]) -> str:
    options = "".join(f'<option value="{_key(what, v)}">{html.escape(v)}</option>' for v in values)
    return f'<p class="chooser"><label>{html.escape(what)} <select>{options}</select></label></p>'


def _key(what: str, value: str) -> str:
    return f"{anchor(what)}-{safe(value)}"


def _exhibit(one: Exhibit, away: bool) -> str:
    """``away``: another one is chosen at first."""
    choice = f' data-choice="{_key(*one.choice)}"' if one.choice[0] else ""
    hidden = ' class="away"' if away else ""
    links = " ".join(f'<a href="{name}" download="{name}">{name.rpartition(".")[2].upper()}</a>' for name in one.files)
    kept = _kept("csv", one.csv)
    caption = f'<figcaption>{_text(one.caption)} <span class="files">{links}</span></figcaption>'
    title = f"<h3>{html.escape(one.title)}</h3>"
    inner = f"{title}\n{_drawing(one)}{one.body}\n{caption}{kept}"
    return f'<figure id="figure-{one.name}"{choice}{hidden}>\n{inner}\n</figure>'


def _drawing(one: Exhibit) -> str:
    if one.spec is None:
        return ""
    label = f"{html.escape(one.title)}: arrow keys go from run to run, Enter copies"
    return (
        f'<div class="chart" role="group" tabindex="0" aria-label="{label}"></div>'
        '<p class="readout" aria-live="polite"></p>'
        f"{_kept('spec', to_json(packed(one.spec)))}"
    )


def _kept(what: str, text: str) -> str:
    """A text as an element of data, compressed: a page of a large store is a few megabytes then."""
    data = base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()
    return f'<script type="text/plain" class="{what}">{data}</script>'


def beside(text: str) -> list[str]:
    """The names of the files beside a page: it links to all of them. None where the page isn't ours."""
    found = re.findall(r'<a href="([\w.-]+\.(?:csv|svg|png))" download', text) if MARK in text else []
    return [name for name in found if not name.startswith(".")]
