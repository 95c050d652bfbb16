"""The folder of a report: the page and the files beside it, each there whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from orchestrator.reporting.page import beside
from trials.errors import ApetError

PAGE = "index.html"


def write(out: Path, files: Iterable[tuple[str, bytes]], page: str, kept: Iterable[str] = ()) -> None:
    """Write a report into a folder, which is made if need be. What an earlier report left there goes.

    Every file is written beside its name and renamed, the page last, so that a reader sees one report or the other.

    Args:
        out: the folder.
        files: name and content of each that lies beside the page.
        page: the page.
        kept: names of files that are there already.

    Raises:
        ApetError: the folder can't be made, or not be written to.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        earlier = _earlier(out)
        names = set(kept)
        for name, data in files:
            put(out / name, data)
            names.add(name)
        put(out / PAGE, page.encode())
        for name in earlier - names:
            (out / name).unlink(missing_ok=True)
    except OSError as error:
        raise ApetError(
            f"can't write the report to {out} ({error.strerror}); give --out a folder that can be made"
        ) from None


def put(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole, or as it was."""
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(data)
    part.replace(path)


def _earlier(out: Path) -> set[str]:
    """The files that an earlier report wrote into a folder, those that its page names."""
    page = out / PAGE
    return set(beside(page.read_text(encoding="utf-8", errors="replace"))) if page.is_file() else set()
