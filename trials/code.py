"""What code this is: a digest of the three packages as they are installed here.

A version's number doesn't say it: two trees of one version may differ in a line that decides results.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("trials", "workers", "orchestrator")
SUFFIXES = (".py", ".yaml", ".json", ".html", ".css", ".js")  # of what a wheel holds; a source tree has more


@cache
def digest() -> str:
    """sha256 over the names and contents of all files, as hex digits; the same from a source tree and from a wheel.

    Taken once a process: files that change later are not what this process runs.
    """
    return digest_of({name: Path(where) for name in PACKAGES for where in _places(name)})


def digest_of(folders: dict[str, Path]) -> str:
    """Of the packages in given folders, by their names."""
    total = hashlib.sha256()
    for name, folder in sorted(folders.items()):
        for path in sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            total.update(f"{name}/{path.relative_to(folder).as_posix()} {content}\n".encode())
    return total.hexdigest()


def differs(host: str, there: str, here: str) -> str:
    """What a person reads of a machine with other code.

    Args:
        host: its name.
        there: its digest; empty where its code is so old that it has none.
        here: the driver's.
    """
    return (
        f"{host}: its code is {there[:12] or 'older'}, and the driver's is {here[:12]}: it gets nothing; give it what "
        "the driver has (`ray up` from the same tree, or end the machine: what comes in its place installs anew)"
    )


def _places(name: str) -> list[str]:
    """Folders of a package, which isn't imported for that."""
    spec = find_spec(name)
    return list(spec.submodule_search_locations or ()) if spec else []
