"""A checksum inside of a store's files: a changed byte is an error that names the file, never another number.

Parquet: ten bytes between the last page and the footer, where other readers, which follow the footer's offsets, never
look, and which nobody who writes the table again copies along. Safetensors: one more entry of text in the header.
Files without a seal, of older releases or of other programs, are read as they are.
"""

from __future__ import annotations

import io
import re
import zlib

import pyarrow as pa
import pyarrow.parquet as pq

_PARQUET = b"\xffapet\xff"  # no UTF-8, so it stands in no text of a table
_HEADER = re.compile(rb'"crc32":"([0-9a-f]{8})"')
NO_CRC = "0" * 8  # in the place of a header's ``crc32`` while it is computed


def parquet(table: pa.Table) -> bytes:
    """A table as a sealed Parquet file; a small one needs no statistics, and is read faster without."""
    sink = io.BytesIO()
    if len(table) > 100:
        pq.write_table(table, sink)
    else:
        plain = {"write_statistics": False, "use_dictionary": False, "store_schema": False, "compression": "none"}
        pq.write_table(table, sink, **plain)
    return seal_parquet(sink.getvalue())


def seal_parquet(data: bytes) -> bytes:
    """A Parquet file with a checksum of all of it before its footer."""
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    assert data[-4:] == b"PAR1", "a Parquet file ends with its magic"
    return b"".join((data[:footer], _PARQUET, zlib.crc32(data).to_bytes(4, "little"), data[footer:]))


def parquet_is_whole(data: bytes) -> bool:
    """Whether a Parquet file is as it was sealed, or has no seal."""
    at = data.rfind(_PARQUET)
    if at < 0:
        return True
    end = at + len(_PARQUET) + 4
    return zlib.crc32(data[end:], zlib.crc32(data[:at])) == int.from_bytes(data[end - 4 : end], "little")


def seal_header(data: bytes) -> bytes:
    """A safetensors file whose text ``crc32`` is :data:`NO_CRC`, with a checksum of that file in its place."""
    found = _HEADER.search(data)
    assert found is not None, "the header has a place for it"
    return b"".join((data[: found.start(1)], b"%08x" % zlib.crc32(data), data[found.end(1) :]))


def header_is_whole(data: bytes, crc32: str | None) -> bool:
    """Whether a safetensors file is as it was sealed; ``crc32`` is its header's, None where it has none."""
    if crc32 is None:
        return True
    found = _HEADER.search(data)
    if found is None or found[1].decode() != crc32:
        return False
    blank = zlib.crc32(data[found.end(1) :], zlib.crc32(NO_CRC.encode(), zlib.crc32(data[: found.start(1)])))
    return blank == int(crc32, 16)
