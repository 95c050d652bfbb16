"""What a report shows: sections of exhibits, figures or tables with the files beside the page that hold the same."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.reporting.charts.theme import Spec
from orchestrator.reporting.names import anchor

MOST = 150  # lines of a table on the page


@dataclass(frozen=True)
class Exhibit:
    """A figure or a table of the report, and the files beside the page that hold the same.

    Args:
        name: stem of the files, ``score-sst2``; :func:`orchestrator.reporting.names.safe` makes one of any text.
        title: what it is.
        caption: plain English: what is shown, how many runs, what is uncertain.
        columns: of the CSV, and in this order.
        rows: of the CSV; None is an empty field.
        spec: the figure, None for a table.
        body: HTML of the table as shown, '' for a figure.
        choice: what it is one of, and which: (``task``, ``sst2``). Exhibits of a section with one and the same first
            part are shown one at a time; ('', '') is always shown.
    """

    name: str
    title: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Mapping[str, Any]]
    spec: Spec | None = None
    body: str = ""
    choice: tuple[str, str] = ("", "")

    @property
    def csv(self) -> str:
        """CSV with a header; numbers in full precision, so that it reads back as the same values."""
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: row[key] for key in self.columns} for row in self.rows)
        return text.getvalue()

    @property
    def files(self) -> list[str]:
        """Names of the files beside the page."""
        endings = ("csv",) if self.spec is None else ("svg", "png", "csv")
        return [f"{self.name}.{ending}" for ending in endings]


@dataclass(frozen=True)
class Section:
    """A part of the page. ``lead`` is a sentence or two; without exhibits it says why there are none."""

    title: str
    lead: str
    exhibits: tuple[Exhibit, ...] = field(default=())

    @property
    def anchor(self) -> str:
        """The id that links to it."""
        return anchor(self.title)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[int] = ()) -> str:
    """An HTML table, of :data:`MOST` lines at most. Cells are text, or HTML that :func:`markup` made."""

    def cell(tag: str, index: int, value: str) -> str:
        kind = ' class="number"' if index in numeric else ""
        scope = ' scope="col"' if tag == "th" else ""
        return f"<{tag}{scope}{kind}>{value if isinstance(value, Markup) else html.escape(value)}</{tag}>"

    def line(tag: str, values: Sequence[str]) -> str:
        return f"<tr>{''.join(cell(tag, i, v) for i, v in enumerate(values))}</tr>"

    body = "\n".join(line("td", row) for row in rows[:MOST])
    more = f'<p class="note">{len(rows) - MOST:,} more lines are in the CSV.</p>' if len(rows) > MOST else ""
    shown = f"<table><thead>{line('th', head)}</thead>\n<tbody>{body}</tbody></table>"
    return f'<div class="scroll" tabindex="0">{shown}</div>{more}'


class Markup(str):
    """Text that is HTML already."""


def markup(template: str, *values: str) -> Markup:
    """A piece of HTML with escaped ``values`` in its ``{}``."""
    return Markup(template.format(*(html.escape(v) for v in values)))


def trial_button(trial_id: str) -> Markup:
    """A trial's short id that copies the command that shows it."""
    return markup(
        '<button class="copy" data-trial="{}" title="copy the command that shows it">{}</button>',
        trial_id,
        trial_id[:10],
    )
