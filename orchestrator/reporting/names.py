"""Texts from rows as names of files and of places on the page."""

from __future__ import annotations

import hashlib
import re


def safe(text: str) -> str:
    """A text as part of a file's name, the same on every system; no two become one.

    >>> safe("rotten_tomatoes")
    'rotten_tomatoes'
    >>> safe("../a<b>")
    'a-b-c69c72'
    """
    short = re.sub(r"[^a-z0-9._]+", "-", text.lower()).strip("-._")[:60]
    return short if short == text != "" else f"{short}-{hashlib.sha256(text.encode()).hexdigest()[:6]}".strip("-")


def anchor(title: str) -> str:
    """A title as the id that links to it."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def short(count: float) -> str:
    """A count in few letters: 950, 12k, 1.2M."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g}{letter}"
    return f"{count:.3g}"


def spaced(count: int | None) -> str:
    """A count with spaces between thousands, – where there is none."""
    return "–" if count is None else f"{count:,}".replace(",", "\u202f")
