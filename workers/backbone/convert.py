"""Torch's own files of weights, converted once per machine into sharded safetensors in the cache.

Large models came to the hub as one ``.bin``, 44 GB for T5-XXL: every worker would unpickle and convert it anew. A copy
is named by the content of the files and by the precision, so what a trial's id stands for stays the files themselves;
its shards are compared with the digests in its index before they are used. Whatever the size, a few parts of tensors
are in memory. A shard is there whole or not at all: a conversion that was killed goes on after the last whole one. One
process converts, others wait for it, and the system takes the lock back from one that dies.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch

from trials.errors import ApetError
from trials.sources import copies
from trials.sources.digests import file_digest
from trials.sources.locks import alone
from trials.sources.tensors import Stored
from workers.backbone.files import DTYPES, NAMES, Bins

LARGE = 2**30  # bytes of torch's files from which on they are converted
SHARD = 2**29  # bytes of a shard, at most, unless a tensor is larger
PRECISIONS = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16", torch.float64: "fp64"}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shard:
    """A file to be: its name, its tensors, its header, its size in bytes."""

    name: str
    tensors: tuple[Stored, ...]  # by their places in the shard
    header: bytes
    size: int


def converted(
    files: Sequence[Path],
    dtype: torch.dtype,
    name: str,
    check: Callable[[Mapping[str, Stored]], object] = lambda stored: None,
) -> tuple[Path, ...]:
    """The shards of the converted copy of some files, made where it isn't there.

    Args:
        files: torch's own, one or the shards of one model.
        dtype: of the copy; tensors that hold no floating-point numbers stay as they are.
        name: of the backbone, for whoever lists the copies.
        check: raises if what the files hold is wrong, before anything is converted.

    Raises:
        ApetError: files of anything but tensors (nothing is unpickled), too small a disk, a cache that can't be
            written or locked; and what ``check`` raises.
    """
    folder = copies.place(files, PRECISIONS[dtype])
    try:
        if (shards := whole(folder)) is not None:
            return shards
        with alone(folder.with_name(f".{folder.name}.lock")):
            if (shards := whole(folder)) is not None:  # by whom we waited for
                return shards
            bins = Bins(files)
            check(bins.stored)
            source = files[0] if len(files) == 1 else files[0].parent
            said = {"backbone": name, "source": str(source.absolute()), "precision": PRECISIONS[dtype]}
            written = _convert(bins, folder, dtype, said)
            if copies.place(files, PRECISIONS[dtype]) != folder:
                shutil.rmtree(folder)
                raise ApetError(f"{source}: it changed while it was converted; wait until it is written, try again")
            _index(folder, written, said, {shard.name: file_digest(folder / shard.name) for shard in written})
            return tuple(folder / shard.name for shard in written)
    except OSError as error:
        raise ApetError(
            f"{folder}: {error.strerror or error}; {name} is converted there, so it must be writable, and on a file "
            "system with locks; APET_CACHE is a folder of your choice"
        ) from error


def whole(folder: Path) -> tuple[Path, ...] | None:
    """The shards of a copy, None where it isn't complete, or isn't what was written."""
    digests = copies.index(folder).get("sha256", {})
    shards = tuple(folder / name for name in digests)
    if not shards or not all(digests.values()):
        return None
    same = all(path.is_file() and file_digest(path) == digests[path.name] for path in shards)
    return shards if same else None


def _convert(bins: Bins, folder: Path, dtype: torch.dtype, said: Mapping[str, str]) -> list[Shard]:
    """Write the shards that aren't there whole."""
    shards = _planned(bins, dtype)
    folder.mkdir(parents=True, exist_ok=True)
    for dead in folder.glob(".*"):  # what a killed process was writing: we alone are here
        dead.unlink()
    before = copies.index(folder).get("sha256", {})
    lacking = [shard for shard in shards if not _there(folder / shard.name, shard, before.get(shard.name))]
    needed, free = sum(shard.size for shard in lacking), shutil.disk_usage(folder).free
    if needed > free:
        raise ApetError(
            f"{folder}: {said['backbone']} in {said['precision']} needs {needed:,} bytes there and {free:,} are "
            "free; free some, or set APET_CACHE to a folder on a larger disk"
        )
    _index(folder, shards, said, dict.fromkeys((shard.name for shard in shards), None))
    for number, shard in enumerate(lacking, start=1):
        _log.info("%s: converting shard %d of %d", said["backbone"], number, len(lacking))
        with _written(folder / shard.name) as file:
            file.write(shard.header)
            for one in shard.tensors:
                for part in bins.parts(one.name, 0, one.scalars):
                    file.write(part.to(DTYPES[one.dtype]).contiguous().view(torch.uint8).numpy().data)
    return shards


def _planned(bins: Bins, dtype: torch.dtype) -> list[Shard]:
    """Which tensor goes where: in the order of the files, and the same every time."""
    groups: list[list[Stored]] = [[]]
    end = 0
    for one in bins.stored.values():
        if one.dtype not in DTYPES:
            raise ApetError(f"{one.file}: {one.name} is {one.dtype}, which is not read; give float32 or bfloat16")
        to = dtype if DTYPES[one.dtype].is_floating_point else DTYPES[one.dtype]
        size = one.scalars * to.itemsize
        if groups[-1] and end + size > SHARD:
            groups.append([])
            end = 0
        groups[-1].append(Stored(one.name, one.shape, one.file, NAMES[to], end))
        end += size
    return [_shard(f"model-{i:05}-of-{len(groups):05}.safetensors", group) for i, group in enumerate(groups, start=1)]


def _shard(name: str, tensors: Sequence[Stored]) -> Shard:
    entries = {}
    end = 0
    for one in tensors:
        end = one.at + one.scalars * DTYPES[one.dtype].itemsize
        entries[one.name] = {"dtype": one.dtype, "shape": list(one.shape), "data_offsets": [one.at, end]}
    text = json.dumps({"__metadata__": {"format": "pt"}, **entries}).encode()
    text += b" " * (-len(text) % 8)  # numbers begin at a multiple of 8
    header = len(text).to_bytes(8, "little") + text
    return Shard(name, tuple(tensors), header, len(header) + end)


def _there(path: Path, shard: Shard, digest: str | None) -> bool:
    """Whether a shard is whole: it got its name when it was. One that was changed since is converted again.

    Args:
        path: where it would be.
        shard: what it would be.
        digest: what it had when the copy was complete, None before that.
    """
    try:
        with path.open("rb") as file:
            same = path.stat().st_size == shard.size and file.read(len(shard.header)) == shard.header
    except OSError:
        return False
    return same and digest in (None, file_digest(path))


def _index(folder: Path, shards: Sequence[Shard], said: Mapping[str, str], digests: Mapping[str, str | None]) -> None:
    places = {one.name: shard.name for shard in shards for one in shard.tensors}
    total = sum(shard.size - len(shard.header) for shard in shards)
    text = json.dumps({"metadata": {**said, "total_size": total}, "weight_map": places, "sha256": digests}, indent=1)
    with _written(folder / copies.INDEX) as file:
        file.write(text.encode())


@contextlib.contextmanager
def _written(path: Path) -> Iterator[BinaryIO]:
    """A file that is there whole, under its name, or not at all."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
