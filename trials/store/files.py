"""Whole files on a local disk or an object store, written so that a reader sees all of one or nothing.

Locally: a temporary dot-name, fsync, rename. On an object store: one PUT, which is atomic by itself.
Everything a store keeps goes through here; errors of the file system become ``ApetError``.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from trials.errors import ApetError

OBJECT_STORES = ("s3", "gcs", "abfs")  # pyarrow's names of file systems whose PUT is atomic


@dataclass(frozen=True)
class Entry:
    """One file of a listing: path below the root, size in bytes, time of writing in seconds (Unix)."""

    path: str
    size: int
    modified: float


class Files:
    """The files below one root.

    Args:
        uri: a local path or a URI that pyarrow knows (``s3://``, ``gs://``, …).
        filesystem: a pyarrow file system; ``uri`` is then a path on it.

    Raises:
        ApetError: the URI is of no known kind, or names a file.
    """

    def __init__(self, uri: str | os.PathLike[str], filesystem: Any = None) -> None:
        self.uri = os.fspath(uri)
        self.filesystem, self.root = _open(self.uri, filesystem)
        self.is_local = self.filesystem.type_name == "local"
        self.is_object_store = self.filesystem.type_name in OBJECT_STORES
        self._refuse_a_file()

    def address(self, path: str) -> str:
        """What to call a file outside of the store: its path on a local disk, else its URI."""
        if self.is_local:
            return self._full(path)
        base, mark, options = self.uri.partition("?")
        return f"{base.rstrip('/')}/{path}{mark}{options}"

    def write(self, path: str, data: bytes) -> None:
        """Write a whole file, or nothing; folders are made on the way.

        Raises:
            ApetError: it can't be written.
        """
        with self._reporting("write", path):
            if self.is_object_store:
                self._stream(self._full(path), data)
                return
            folder, name = str(PurePosixPath(path).parent), PurePosixPath(path).name
            temporary = f"{folder}/.{name}.{secrets.token_hex(4)}.tmp"
            self.make_folder(folder)
            if self.is_local:
                self._write_locally(Path(self._full(temporary)), Path(self._full(path)), data)
            else:
                self._stream(self._full(temporary), data)
                self.filesystem.move(self._full(temporary), self._full(path))

    def read(self, path: str) -> bytes:
        """A whole file.

        Raises:
            FileNotFoundError: there is none (now).
            ApetError: it can't be read.
        """
        with self._reporting("read", path):
            if self.is_local:
                return Path(self._full(path)).read_bytes()
            with self.filesystem.open_input_file(self._full(path)) as stream:
                data: bytes = stream.read()
                return data

    def kept(self, path: str) -> bytes:
        """A whole file that a row or a listing names.

        Raises:
            ApetError: it isn't there, or can't be read.
        """
        try:
            return self.read(path)
        except FileNotFoundError:
            raise ApetError(f"no {path} in {self.uri}; was the store copied without that folder?") from None

    def listing(self, folder: str = "", *, recursive: bool = True) -> list[Entry]:
        """The files below a folder, by path; hidden and temporary ones left out. No folder: no files."""
        return [
            Entry(info.path[len(self.root) :].lstrip("/"), info.size or 0, (info.mtime_ns or 0) / 1e9)
            for info in sorted(self._infos(folder, recursive), key=lambda info: str(info.path))
            if info.type == pafs.FileType.File and not info.base_name.startswith((".", "_"))
        ]

    def folders(self) -> set[str]:
        """The names of the folders right below the root; none where the root isn't there."""
        return {info.base_name for info in self._infos("", False) if info.type == pafs.FileType.Directory}

    def touched(self, folder: str) -> dict[str, float]:
        """What is right below a folder: its name → when something of it was last written, in seconds (Unix).

        Hidden and temporary files count too. An object store knows no time of a folder without files: it is 0 there.
        """
        start, newest = len(self._full(folder)), dict[str, float]()
        for info in self._infos(folder, True):
            name = info.path[start:].strip("/").partition("/")[0]
            newest[name] = max(newest.get(name, 0.0), (info.mtime_ns or 0) / 1e9)
        return newest

    def exists(self, path: str) -> bool:
        """Whether a file is there."""
        with self._reporting("read", path):
            return bool(self.filesystem.get_file_info(self._full(path)).type == pafs.FileType.File)

    def delete(self, path: str) -> None:
        """Delete a file; nothing happens where there is none."""
        with self._reporting("delete", path):
            try:
                self.filesystem.delete_file(self._full(path))
            except FileNotFoundError:
                return

    def delete_folder(self, path: str) -> None:
        """Delete a folder and all that is in it; nothing happens where there is none."""
        with self._reporting("delete", path):
            try:
                self.filesystem.delete_dir(self._full(path))
            except FileNotFoundError:
                return

    def make_folder(self, path: str) -> None:
        """Make a folder and its parents; on an object store that is a marker of zero bytes.

        Raises:
            ApetError: it can't be made.
        """
        with self._reporting("write", path):
            full = self._full(path)
            if self.is_local:
                if not Path(full).is_dir():
                    Path(full).mkdir(parents=True, exist_ok=True)
                    _sync_folder(Path(full).parent)
            else:
                self.filesystem.create_dir(full, recursive=True)

    def probe(self) -> None:
        """Find out whether files can be written, by writing one.

        Raises:
            ApetError: they can't.
        """
        name = f".probe-{secrets.token_hex(4)}"
        self.write(name, b"")
        self.delete(name)

    def _infos(self, folder: str, recursive: bool) -> list[Any]:
        with self._reporting("list", folder):
            selector = pafs.FileSelector(self._full(folder), recursive=recursive, allow_not_found=True)
            infos: list[Any] = self.filesystem.get_file_info(selector)
            return infos

    def _full(self, path: str) -> str:
        assert not path.startswith("/"), f"{path!r} is not below the store"
        assert ".." not in path.split("/"), f"{path!r} is not below the store"
        return f"{self.root}/{path}" if path else self.root or "/"

    def _stream(self, full: str, data: bytes) -> None:
        with self.filesystem.open_output_stream(full) as stream:
            stream.write(data)

    def _write_locally(self, temporary: Path, path: Path, data: bytes) -> None:
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)

    def _refuse_a_file(self) -> None:
        paths = [self.root]
        if self.is_local:  # a parent that is a file is the same mistake
            paths += [str(parent) for parent in Path(self.root).parents]
        with self._reporting("read", ""):
            for info in self.filesystem.get_file_info(paths):
                if info.type == pafs.FileType.File:
                    raise ApetError(
                        f"store {self.uri}: {info.path} is a file; a store is a directory: give another path"
                    )

    @contextmanager
    def _reporting(self, verb: str, path: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            if verb == "read":
                raise
            raise self._error(verb, path, "no such file or directory") from None
        except (OSError, pa.ArrowException) as error:
            raise self._error(verb, path, getattr(error, "strerror", None) or str(error)) from None

    def _error(self, verb: str, path: str, reason: str) -> ApetError:
        return ApetError(
            f"store {self.uri}: can't {verb} {path or 'it'}: {reason.strip()}; "
            f"check access and free space, or give another store"
        )


def _open(uri: str, filesystem: Any) -> tuple[Any, str]:
    """A pyarrow file system and the root's path on it, less any wrapping subtree."""
    try:
        if filesystem is not None:
            root = uri
        elif "://" not in uri:
            filesystem, root = pafs.LocalFileSystem(), str(Path(uri).expanduser().absolute())
        else:
            filesystem, root = _from_uri(uri)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ApetError(f"store {uri}: {error}; a store is a path, s3://BUCKET/PATH or gs://BUCKET/PATH") from None
    while isinstance(filesystem, pafs.SubTreeFileSystem):
        root, filesystem = f"{filesystem.base_path}{root}", filesystem.base_fs
    return filesystem, root.rstrip("/")


def _from_uri(uri: str) -> Any:
    if uri.startswith("s3://"):  # opened late, a small file is one PUT, not a multipart upload
        try:
            delayed = f"{uri}{'&' if '?' in uri else '?'}allow_delayed_open=true"
            return pafs.FileSystem.from_uri(delayed)
        except pa.ArrowInvalid:  # given already, or unknown to this pyarrow
            pass
    return pafs.FileSystem.from_uri(uri)


def _sync_folder(folder: Path) -> None:
    """Make a rename in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
