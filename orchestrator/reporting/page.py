"""The page: sections of exhibits (a figure or a table) as one HTML file without any outside request."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.reporting.style import CSS

MARK = '<meta name="generator" content="apet report">'


@dataclass(frozen=True)
class Exhibit:
    """A figure or a table of the report, and the files beside the page that hold the same.

    Args:
        name: stem of the files, ``score-sst2``.
        title: what it is.
        caption: plain English: what is shown, how many runs, what is uncertain.
        columns: of the CSV, and in this order.
        rows: of the CSV; None is an empty field.
        svg: the drawing, None for a table.
        body: HTML of the table as shown, '' for a drawing.
    """

    name: str
    title: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Mapping[str, Any]]
    svg: str | None = None
    body: str = ""

    def files(self) -> dict[str, str]:
        """File name → content."""
        files = {f"{self.name}.csv": to_csv(self.columns, self.rows)}
        return files if self.svg is None else {**files, f"{self.name}.svg": self.svg}


@dataclass(frozen=True)
class Section:
    """A part of the page. ``lead`` is a sentence or two; without exhibits it says why there are none."""

    title: str
    lead: str
    exhibits: tuple[Exhibit, ...] = field(default=())

    @property
    def anchor(self) -> str:
        """The id that links to it."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


def to_csv(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """CSV with a header; numbers in full precision, so that it reads back as the same values."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: row[key] for key in columns} for row in rows)
    return text.getvalue()


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[int] = ()) -> str:
    """An HTML table. Cells are text, or HTML that :func:`markup` made."""

    def cell(tag: str, index: int, value: str) -> str:
        kind = ' class="number"' if index in numeric else ""
        return f"<{tag}{kind}>{value if isinstance(value, Markup) else html.escape(value)}</{tag}>"

    def line(tag: str, values: Sequence[str]) -> str:
        return f"<tr>{''.join(cell(tag, i, v) for i, v in enumerate(values))}</tr>"

    body = "\n".join(line("td", row) for row in rows)
    return f'<div class="scroll"><table><thead>{line("th", head)}</thead>\n<tbody>{body}</tbody></table></div>'


class Markup(str):
    """Text that is HTML already."""


def markup(template: str, *values: str) -> Markup:
    """A piece of HTML with escaped ``values`` in its ``{}``."""
    return Markup(template.format(*(html.escape(v) for v in values)))


def page(title: str, subtitle: str, points: Sequence[str], sections: Sequence[Section]) -> str:
    """The whole page. ``points`` are the sentences at its top."""
    links = "".join(f'<a href="#{s.anchor}">{html.escape(s.title)}</a>' for s in sections)
    short = "".join(f"<li>{html.escape(p)}</li>" for p in points)
    summary = f'<section class="short"><h2>In short</h2><ul>{short}</ul></section>' if points else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'{MARK}\n<link rel="icon" href="data:,">\n<title>{html.escape(title)}</title>\n'
        f"<style>\n{CSS}</style>\n</head>\n<body>\n"
        f"<header><h1>{html.escape(title)}</h1><p>{html.escape(subtitle)}</p><nav>{links}</nav></header>\n<main>\n"
        f"{summary}\n" + "\n".join(map(_section, sections)) + "\n</main>\n</body>\n</html>\n"
    )


def _section(section: Section) -> str:
    exhibits = "\n".join(map(_exhibit, section.exhibits))
    head = (
        f'<h2 id="{section.anchor}">{html.escape(section.title)}</h2>\n<p class="lead">{html.escape(section.lead)}</p>'
    )
    return f"<section>\n{head}\n{exhibits}\n</section>"


def _exhibit(exhibit: Exhibit) -> str:
    links = " ".join(f'<a href="{name}" download>{name.rpartition(".")[2].upper()}</a>' for name in exhibit.files())
    drawing = "" if exhibit.svg is None else _inline(exhibit.svg, exhibit.name, exhibit.title)
    caption = f"<figcaption>{html.escape(exhibit.caption)} <span>{links}</span></figcaption>"
    return f"<figure>\n<h3>{html.escape(exhibit.title)}</h3>\n{drawing}{exhibit.body}\n{caption}\n</figure>"


def _inline(svg: str, name: str, title: str) -> str:
    """An SVG file as part of the page: no XML header, and ids that no other drawing has."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(title)}"', 1)


def beside(text: str) -> list[str]:
    """The names of the files beside a page: it links to all of them. None where the page isn't ours."""
    return re.findall(r'<a href="([\w.-]+\.(?:csv|svg))" download>', text) if MARK in text else []
