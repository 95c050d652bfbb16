"""Whether every node sees the store that results are to go to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from orchestrator.clusters.document import Path, mapping
from orchestrator.clusters.finding import Case, Problem, error, warning

SHARED = "apet-shared"  # below ``metadata``, which Ray leaves to its users
HOME_OF = {"aws": "s3", "gcp": "gs"}  # where a provider's machines need no keys
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://(.*)")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")
_NFS = re.compile(r"\bmount\b.*\b(nfs4?|efs|lustre|fsx)\b|\b(nfs4?|efs|lustre)\b.*\bmount\b")
_SHELF = re.compile(r"echo (/[^/\s]+/[^/\s]+)\S* *>~/apet-shelf")  # the mount of which it is a folder, about
_OBJECTS = ("s3", "gs", "gcs", "abfs")


def shared(case: Case) -> Iterator[Problem]:
    """A store that is a path is on a disk that all nodes share."""
    if case.store is None or _remote(case.store) or case.file.nodes == 1:
        return
    path = PurePosixPath(case.store.removeprefix("file://"))
    if not any(one == path or one in path.parents for one in map(PurePosixPath, _shared(case))):
        most = case.file.nodes
        said = f"store {case.store} is a path, and {most} nodes have {most} disks: each would write to its own"
        mend = "take s3://BUCKET/PATH; a path that all share is declared as"
        yield error(
            ("metadata",), said, f"{mend} metadata: {{{SHARED}: [{path if path.is_absolute() else '/mnt/shared'}]}}"
        )


def bucket(case: Case) -> Iterator[Problem]:
    """A store in the cloud has a name that a bucket can have, and not one of an example."""
    remote = _remote(case.store or "")
    if remote is None:
        return
    scheme, name = remote[0], remote[1].partition("/")[0].partition("?")[0]
    if scheme not in (*_OBJECTS, "file"):
        said = f"store {case.store}: {scheme}:// is no kind of store"
        yield error((), said, "a store is a path, s3://BUCKET/PATH or gs://BUCKET/PATH")
    elif not _BUCKET.fullmatch(name):
        said = f"store {case.store}: no bucket can be named {name!r}"
        yield error((), said, "write the name of yours: 3 to 63 small letters, digits, - and .")


def keys(case: Case) -> Iterator[Problem]:
    """Nodes reach the store by their role: on another provider's machines they need keys."""
    remote, kind = _remote(case.store or ""), case.file.kind
    if remote is None or remote[0] not in _OBJECTS:
        return
    scheme = "gs" if remote[0] == "gcs" else remote[0]
    if HOME_OF.get(kind) != scheme:
        said = f"store {case.store}: nodes of provider {kind or '?'} have no role for {scheme}://, and need keys"
        yield warning(
            ("provider", "type"), said, "put keys where their libraries look (docs/cluster.md), on every node"
        )


def named(case: Case) -> Iterator[Problem]:
    """The bucket of the store is the one that the file names: its nodes' role was made for that."""
    remote = _remote(case.store or "")
    if remote is None or remote[0] not in _OBJECTS:
        return
    mine = remote[1].partition("/")[0]
    found: dict[str, Path] = {}
    for path, text in case.file.commands():
        for name in re.findall(rf"{remote[0]}://([a-z0-9][a-z0-9._-]+)", text):
            found.setdefault(name, path)
    if found and mine not in found:
        said = f"the store is in bucket {mine}, and the file's nodes use {', '.join(found)}"
        yield warning(next(iter(found.values())), said, "make sure that their role may write there, in the same region")


def _remote(store: str) -> tuple[str, str] | None:
    """Scheme and rest of a URI that is no path on a node."""
    found = _SCHEME.fullmatch(store)
    return None if found is None or found[1] == "file" else (found[1], found[2])


def _shared(case: Case) -> list[str]:
    """Folders that all nodes share: declared, mounted by a command, or where the shelf of node.sh is."""
    declared = mapping(case.file.raw.get("metadata")).get(SHARED)
    names = [declared] if isinstance(declared, str) else declared if isinstance(declared, list) else []
    commands = [text for _, text in case.file.commands()]
    mounted = [word for text in commands if _NFS.search(text) for word in text.split() if word.startswith("/")]
    shelves = [found[1] for text in commands if (found := _SHELF.search(text))]
    return [*map(str, names), *mounted, *shelves]
