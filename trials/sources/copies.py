"""The converted copies of large weights in the cache: where each is, and what it says of itself.

A copy is a folder of shards with an index, as transformers reads it too, named by the content of the files that it was
made of and by its precision. ``workers.backbone.convert`` makes it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trials.errors import ApetError
from trials.sources.digests import cache_folder, folder_digest

INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class Copy:
    """A converted copy, whole or begun.

    Args:
        folder: where it lies.
        backbone: that it was made for first.
        precision: fp32, bf16.
        source: the file, or the folder of the files, that it was made of.
        bytes: of its shards, as far as they are there.
        whole: whether all of them are.
    """

    folder: Path
    backbone: str
    precision: str
    source: str
    bytes: int
    whole: bool


def root() -> Path:
    """Where the copies are.

    Raises:
        ApetError: there is no folder for a cache.
    """
    cache = cache_folder()
    if cache is None:
        raise ApetError("large .bin weights are converted into the cache, and there is no home for it; set APET_CACHE")
    return cache / "weights"


def place(files: Sequence[Path], precision: str) -> Path:
    """Where the copy of some files is, or would be.

    Raises:
        ApetError: a file can't be read, or there is no folder for a cache.
    """
    return root() / f"{folder_digest(files)[:32]}-{precision}"


def index(folder: Path) -> dict[str, Any]:
    """``metadata``, ``weight_map``, and ``sha256`` of each shard, null until all are there; empty if unreadable."""
    try:
        found = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    usable = isinstance(found, dict) and all(isinstance(found.get(key), dict) for key in ("metadata", "sha256"))
    return found if usable and found["metadata"].keys() >= {"backbone", "precision", "source"} else {}


def copy_in(folder: Path) -> Copy | None:
    """The copy in a folder, None where there is none."""
    found = index(folder)
    if not found:
        return None
    said, digests = found["metadata"], found["sha256"]
    sizes = [path.stat().st_size for name in digests if (path := folder / name).is_file()]
    whole = len(sizes) == len(digests) and all(digests.values())
    return Copy(folder, said["backbone"], said["precision"], said["source"], sum(sizes), whole)


def every() -> list[Copy]:
    """All copies on this machine, by backbone and precision.

    Raises:
        ApetError: there is no folder for a cache.
    """
    found = filter(None, map(copy_in, sorted(path for path in root().glob("*-*") if path.is_dir())))
    return sorted(found, key=lambda copy: (copy.backbone, copy.precision))
