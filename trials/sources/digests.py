"""Digests of files and folders: sha256 over names, sizes and contents, cached by path, size and time of change.

Other facts of a file are remembered likewise.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from trials.canonical import canonical
from trials.errors import ApetError
from trials.sources.locks import alone

LARGE = 2**30  # bytes; such a file is read by one process at a time, and the others have what it remembered
_SETTLED_S = 2.0  # a file that changed just now may change again within one tick of its file system's clock


def folder_digest(files: Iterable[Path]) -> str:
    """64 hex digits: sha256 over the sorted (name, size, sha256) of ``files``; their folder doesn't enter.

    Raises:
        ApetError: a file can't be read.
    """
    digests = {path: file_digest(path) for path in files}
    entries = sorted((path.name, path.stat().st_size, digest) for path, digest in digests.items())
    return hashlib.sha256(canonical(entries).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """64 hex digits of a file's sha256, from the cache when path, size and time of change are known.

    Raises:
        ApetError: the file can't be read.
    """
    return str(remembered(path, "sha256", _sha256))


def remembered(path: Path, what: str, find: Callable[[Path], str | int]) -> str | int:
    """What follows from a file's content, from the cache when path, size and time of change are known.

    Args:
        path: the file.
        what: names the fact; another rule needs another name.
        find: reads it from the file.

    Raises:
        ApetError: the file can't be read, or changes meanwhile; and what ``find`` raises.
    """
    try:
        path = path.resolve()
        before = path.stat()
        identity = [str(path), before.st_size, before.st_mtime_ns]
        entry = _entry(path, what)
        known = _read(entry, identity, what)
        if known is not None:
            return known
        with _turn(entry, before.st_size):
            known = _read(entry, identity, what)
            if known is not None:
                return known
            found = find(path)
            after = path.stat()
            if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
                raise ApetError(f"{path}: it changed while it was read; wait until it is written, then try again")
            if abs(time.time() - before.st_mtime) > _SETTLED_S:
                _write(entry, identity, what, found)
            return found
    except OSError as error:
        raise ApetError(f"{path}: {error.strerror or error}; it must be readable") from None


def cache_folder() -> Path | None:
    """What may be deleted at any time: ``$APET_CACHE``, ``$XDG_CACHE_HOME/apet``, ``~/.cache/apet``; None: no home."""
    own, shared = os.environ.get("APET_CACHE", ""), os.environ.get("XDG_CACHE_HOME", "")
    if own:
        return Path(own)
    try:
        return (Path(shared) if shared and Path(shared).is_absolute() else Path.home() / ".cache") / "apet"
    except RuntimeError:
        return None


@contextlib.contextmanager
def _turn(entry: Path | None, size: int) -> Iterator[None]:
    """Wait for whoever reads the same large file; a cache that has no locks only costs time."""
    with contextlib.ExitStack() as stack:
        if entry is not None and size >= LARGE:
            with contextlib.suppress(OSError):
                stack.enter_context(alone(entry.with_name(f".{entry.name}.lock")))
        yield


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _entry(path: Path, what: str) -> Path | None:
    """Where the cache keeps a fact of a file."""
    root = cache_folder()
    return root and root / "digests" / hashlib.sha256(f"{what} {path}".encode()).hexdigest()[:32]


def _read(entry: Path | None, identity: list[object], what: str) -> str | int | None:
    """The cached fact, None when there is none or the entry can't be used."""
    if entry is None:
        return None
    try:
        stored = json.loads(entry.read_text())
        found = stored[what]
        usable = stored["file"] == identity and (len(found) == 64 if what == "sha256" else isinstance(found, int))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if usable else None


def _write(entry: Path | None, identity: list[object], what: str, found: str | int) -> None:
    """Write an entry whole or not at all; a cache that can't be written only costs time."""
    if entry is None:
        return
    partial = entry.with_name(f".{entry.name}.{uuid.uuid4().hex[:8]}")
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(canonical({"file": identity, what: found}))
        partial.replace(entry)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
