"""Files of weights, read a part at a time: however large the file, little of it is in memory.

A reader has ``stored``, what the files hold by the names there, and gives the scalars of a tensor in parts that are
only good until the next one.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from trials.errors import ApetError
from trials.sources import tensors
from trials.sources.tensors import Stored

PART = 2**22  # scalars at a time: 16 MiB of float32
WINDOW = 2**28  # bytes of a mapped file that may be resident: mapping it anew lets go of those that were read
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""Names of safetensors for what a checkpoint may hold."""
NAMES = {dtype: name for name, dtype in DTYPES.items()}


class Reader(Protocol):
    """What some weight files hold."""

    @property
    def stored(self) -> Mapping[str, Stored]:
        """Every tensor by its name there."""

    def parts(self, name: str, start: int, stop: int) -> Iterator[Tensor]:
        """The scalars ``start`` to ``stop`` of a tensor, flat, as stored, on the CPU; at most ``PART`` at a time.

        Raises:
            ApetError: the file can't be read.
        """


class Safetensors:
    """Safetensors files, one or the shards of one model, read with no mapping and no copy of a tensor.

    Raises:
        ApetError: as ``trials.sources.tensors.headers``.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.stored = tensors.headers(files)

    def parts(self, name: str, start: int, stop: int) -> Iterator[Tensor]:
        """See :class:`Reader`; the parts share their memory."""
        one = self.stored[name]
        if one.dtype not in DTYPES:
            raise ApetError(f"{one.file}: {name} is {one.dtype}, which is not read here; give float32 or bfloat16")
        dtype = DTYPES[one.dtype]
        held = torch.empty(min(PART, stop - start), dtype=dtype)
        try:
            with one.file.open("rb", buffering=0) as file:
                file.seek(one.at + start * dtype.itemsize)
                for at in range(start, stop, PART):
                    part = held[: min(PART, stop - at)]
                    room = part.view(torch.uint8).numpy().data
                    while room:
                        got = file.readinto(room)
                        if not got:
                            raise ApetError(f"{one.file}: it ends inside {name}; copy it again")
                        room = room[got:]
                    yield part
        except OSError as error:
            raise ApetError(f"{one.file}: {error.strerror or error}; it must be readable") from None


class Bins:
    """Torch's own files: mapped, and read as tensors alone; whatever else a pickle may hold is refused, not run.

    A file of a torch before 1.6 can't be mapped: it is in memory whole.

    Raises:
        ApetError: a git-lfs pointer, or a file that holds anything but tensors by name.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = tuple(files)
        self.stored = self._open()

    def parts(self, name: str, start: int, stop: int) -> Iterator[Tensor]:
        """See :class:`Reader`."""
        for at in range(start, stop, PART):
            if self._mapped and self._read > WINDOW:
                self._open()
            part = self._held[name].detach().reshape(-1)[at : min(at + PART, stop)]
            self._read += part.nbytes
            yield part

    def _open(self) -> dict[str, Stored]:
        """Map the files, and let go of what was mapped before."""
        self._held: dict[str, Tensor] = {}
        self._read, self._mapped = 0, True  # bytes since then; whether all files could be
        stored: dict[str, Stored] = {}
        for path in self._files:
            state = self._load(path)
            self._held |= state
            stored |= {
                name: Stored(name, tuple(value.shape), path, NAMES.get(value.dtype, str(value.dtype)))
                for name, value in state.items()
            }
        return stored

    def _load(self, path: Path) -> dict[str, Tensor]:
        tensors.check_pointer(path)
        try:
            with path.open("rb") as file:
                archive = file.read(2) == b"PK"
            self._mapped &= archive
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=archive)
        except Exception as error:  # unpickling raises whatever it likes
            raise ApetError(
                f"{path}: not a file of tensors alone ({_found(error)}); give safetensors, or a .bin of plain tensors"
            ) from error
        if not isinstance(state, dict) or not all(map(_plain, state.values())):
            raise ApetError(f"{path}: it holds more than tensors by name; give the state dict of the model")
        return state


def _plain(value: object) -> bool:
    return isinstance(value, Tensor) and value.layout is torch.strided


def _found(error: Exception) -> str:
    """What of a file torch doesn't read, without its advice, which is to run what is there."""
    if held := re.search(r"GLOBAL (\S+)", str(error)):
        return f"it holds {held[1]}, of which nothing was run"
    if isinstance(error, pickle.UnpicklingError):
        return "what it holds is unknown, and nothing of it was run"
    return short(error)


def short(error: BaseException) -> str:
    """The first line of an error's text: transformers' errors run over many."""
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"
