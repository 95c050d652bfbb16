"""Digests of files and folders: sha256 over names, sizes and contents, cached by path, size and time of change."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterable
from pathlib import Path

from trials.canonical import canonical
from trials.errors import ApetError

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
    try:
        path = path.resolve()
        before = path.stat()
        identity = [str(path), before.st_size, before.st_mtime_ns]
        entry = _entry(path)
        known = _read(entry, identity)
        if known is not None:
            return known
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        after = path.stat()
    except OSError as error:
        raise ApetError(f"{path}: {error.strerror or error}; it must be readable") from None
    if (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns):
        if abs(time.time() - before.st_mtime) > _SETTLED_S:
            _write(entry, identity, digest)
        return digest
    raise ApetError(f"{path}: it changed while it was read; wait until it is written, then try again")


def cache_folder() -> Path | None:
    """What may be deleted at any time: ``$APET_CACHE``, ``$XDG_CACHE_HOME/apet``, ``~/.cache/apet``; None: no home."""
    own, shared = os.environ.get("APET_CACHE", ""), os.environ.get("XDG_CACHE_HOME", "")
    if own:
        return Path(own)
    try:
        return (Path(shared) if shared and Path(shared).is_absolute() else Path.home() / ".cache") / "apet"
    except RuntimeError:
        return None


def _entry(path: Path) -> Path | None:
    """Where the cache keeps a file's digest."""
    root = cache_folder()
    return root and root / "digests" / hashlib.sha256(str(path).encode()).hexdigest()[:32]


def _read(entry: Path | None, identity: list[object]) -> str | None:
    """The cached digest, None when there is none or the entry can't be used."""
    if entry is None:
        return None
    try:
        stored = json.loads(entry.read_text())
        digest = stored["sha256"]
        usable = stored["file"] == identity and isinstance(digest, str) and len(digest) == 64
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return digest if usable else None


def _write(entry: Path | None, identity: list[object], digest: str) -> None:
    """Write an entry whole or not at all; a cache that can't be written only costs time."""
    if entry is None:
        return
    partial = entry.with_name(f".{entry.name}.{uuid.uuid4().hex[:8]}")
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(canonical({"file": identity, "sha256": digest}))
        partial.replace(entry)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
