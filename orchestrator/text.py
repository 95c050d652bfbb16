"""How things are said: tables for a terminal or a pipe, numbers, sizes, times, the names of methods and trials."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trials.trial import Method, Trial

GIB = 2**30


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows under their column names: aligned, numbers to the right, nothing cut off, two spaces between columns.

    >>> print(table(["name", "count"], [["lora", 65536], ["full", None]]))
    name   count
    lora  65,536
    full       -
    """
    assert all(len(row) == len(columns) for row in rows), "a row has one cell per column"
    cells = [list(columns), *([as_text(value) for value in row] for row in rows)]
    right = [
        any(_number(row[i]) for row in rows) and all(row[i] is None or _number(row[i]) for row in rows)
        for i in range(len(columns))
    ]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    lines = (
        "  ".join(text.rjust(w) if r else text.ljust(w) for text, w, r in zip(line, widths, right, strict=True))
        for line in cells
    )
    return "\n".join(line.rstrip() for line in lines)


def as_text(value: object) -> str:
    """One value as text: thousands grouped, fractions to four digits and decimals with all, None as a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Decimal):
        return f"{value:,f}"
    return str(value)


def number(count: int, what: str) -> str:
    """So many of something.

    >>> number(1, "trial"), number(2000, "trial")
    ('1 trial', '2,000 trials')
    """
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """Seconds as people say them.

    >>> [duration(s) for s in (0.4, 42, 600, 9000, 400000)]
    ['0.4 s', '42 s', '10 min', '2.5 h', '111 h']
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 100 else f"{hours:,.0f} h"


def dollars(amount: float) -> str:
    """Money as a bill has it, with two digits below a dime.

    >>> dollars(1234.5), dollars(0.0421)
    ('$1,234.50', '$0.042')
    """
    return f"${amount:,.2f}" if amount >= 0.1 or not amount else f"${amount:.2g}"


def size(bytes_: float) -> str:
    """Bytes in GiB, in MiB below a tenth.

    >>> size(22 * 2**30), size(91 * 2**20)
    ('22.0 GiB', '91 MiB')
    """
    return f"{bytes_ / GIB:.1f} GiB" if bytes_ >= GIB / 10 else f"{bytes_ / 2**20:.0f} MiB"


def cut_rows(cut: int, rows: int, targets: bool) -> str:
    """How many rows of a trial were cut, of how many.

    Args:
        cut: ``truncated_rows``.
        rows: of train, validation and test.
        targets: whether the trial has targets of transfer: their test rows are in ``cut``, not in ``rows``.
    """
    return f"{cut:,} of {rows:,}{' and the test rows of the transfer targets' if targets else ''}"


def method_name(method: Method, family: str) -> str:
    """A method with its sizes, without its count: ``lora rank 8``, ``apet add:1 concat:1 discrete``.

    Sites are named where they aren't the default ones of the family.
    """
    words = [method.name]
    words += [f"{op}:{share}" for op, share in (method.operations or {}).items()]
    chosen = (method.sites or {}).items()
    words += [f"{op} at {'+'.join(kinds)}" for op, kinds in chosen if tuple(kinds) != _default_sites(family, op)]
    words += [f"{name} {value:g}" for name, value in method.sizes.items()]
    return " ".join([*words, method.placement] if method.placement else words)


def trial_name(trial: Trial) -> str:
    """A trial in a few words: ``quickstart-l6 rotten_tomatoes apet discrete 4096 p1 s0 0.01``."""
    method = trial.method
    words = [trial.backbone.name, trial.task.name, method.name, method.placement]
    words += [f"{name} {value:g}" for name, value in method.sizes.items() if name != "alpha"]
    words += [str(method.count)] if method.count is not None else []
    words += [f"p{trial.position_seed}"] if trial.position_seed is not None else []
    return " ".join(word for word in [*words, f"s{trial.train_seed}", f"{trial.learning_rate:g}"] if word)


@cache
def _default_sites(family: str, op: str) -> tuple[str, ...]:
    from trials.modules.operations import default_sites

    return default_sites(family, op)


def _number(value: object) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)
