"""Arrow arrays from numpy's and Python's, and back, without pandas, which no command needs and which takes a quarter of
a second: ``pyarrow.array`` imports it, so does ``to_numpy``, and a text that a column is compared with (use `among`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


def codes(column: pa.ChunkedArray) -> NDArray[np.int32]:
    """A number for each value: equal ones have the same; from 0, in the order in which they come; none is null."""
    chunks = column.dictionary_encode().chunks  # they share one dictionary
    return np.concatenate([np.empty(0, np.int32), *(_numpy(chunk.indices, np.int32) for chunk in chunks)])


def positions(indices: pa.Array) -> NDArray[np.uint64]:
    """Row numbers, as Arrow sorts them."""
    return _numpy(indices, np.uint64)


def among(column: pa.ChunkedArray, values: Iterable[str]) -> pa.ChunkedArray:
    """Where a column of texts has one of some values; a null has none."""
    return pc.is_in(column, value_set=texts(values))


def booleans(values: Iterable[bool] | NDArray[np.bool_]) -> pa.Array:
    """Of a mask."""
    mask = values if isinstance(values, np.ndarray) else np.fromiter(values, bool)
    return pa.Array.from_buffers(pa.bool_(), len(mask), [None, pa.py_buffer(np.packbits(mask, bitorder="little"))])


def integers(values: Iterable[int] | NDArray[Any]) -> pa.Array:
    """Of 64 bits."""
    return _numbers(pa.int64(), values, np.int64)


def lists(values: Iterable[Iterable[float]]) -> pa.Array:
    """Lists of numbers."""
    parts = [np.fromiter(value, float) for value in values]
    offsets = np.cumsum([0, *map(len, parts)])
    numbers = np.concatenate([np.empty(0), *parts])
    return pa.ListArray.from_arrays(_numbers(pa.int32(), offsets, np.int32), _numbers(pa.float64(), numbers, float))


def texts(values: Iterable[str]) -> pa.Array:
    """Of UTF-8."""
    parts = [value.encode() for value in values]
    offsets = np.cumsum([0, *map(len, parts)]).astype(np.int32)
    return pa.Array.from_buffers(pa.string(), len(parts), [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(parts))])


def _numpy(array: pa.Array, dtype: Any) -> NDArray[Any]:
    data = array.buffers()[1]
    found: NDArray[Any] = np.frombuffer(data, dtype, array.offset + len(array)) if len(array) else np.empty(0, dtype)
    return found[array.offset :]


def _numbers(kind: pa.DataType, values: Iterable[Any] | NDArray[Any], dtype: type) -> pa.Array:
    numbers: NDArray[Any] = np.ascontiguousarray(
        values if isinstance(values, np.ndarray) else np.fromiter(values, dtype), dtype
    )
    return pa.Array.from_buffers(kind, len(numbers), [None, pa.py_buffer(numbers)])
