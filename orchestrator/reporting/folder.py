"""The folder of a report: the page and the files beside it, each there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from orchestrator.reporting.exhibit import Exhibit
from orchestrator.reporting.page import Page, beside
from trials.errors import ApetError


def write(out: Path, exhibits: Sequence[Exhibit], page: Page) -> None:
    """Write a report into a folder, which is made if need be. What an earlier report left there goes.

    Every file is written beside its name and renamed, the page last, so that whoever reads sees one report or the other.

    Raises:
        ApetError: the folder can't be made, or not be written to.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        earlier = _earlier(out)
        names = set()
        for name, data in _files(exhibits):
            _put(out / name, data)
            names.add(name)
        _put(out / "index.html", page.html().encode())
        for name in earlier - names:
            (out / name).unlink(missing_ok=True)
    except OSError as error:
        raise ApetError(
            f"can't write the report to {out} ({error.strerror}); give --out a folder that can be made"
        ) from None


def _files(exhibits: Sequence[Exhibit]) -> Iterator[tuple[str, bytes]]:
    from orchestrator.reporting.drawing import png, svg

    for one in exhibits:
        yield f"{one.name}.csv", one.csv.encode()
        if one.spec is not None:
            drawn = svg(one.spec)
            yield f"{one.name}.svg", drawn.encode()
            yield f"{one.name}.png", png(drawn)


def _put(path: Path, data: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(data)
    os.replace(part, path)


def _earlier(out: Path) -> set[str]:
    """The files that an earlier report wrote into a folder, those that its page names."""
    page = out / "index.html"
    return set(beside(page.read_text(encoding="utf-8", errors="replace"))) if page.is_file() else set()
