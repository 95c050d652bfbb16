"""What processes leave behind when they are gone: others, listening ports, shared memory, temporary files."""

from __future__ import annotations

import time
from pathlib import Path

MARK = "APET_TEST_MARK"  # in the environment of a test's processes, but for the one that runs the test
SHARED = Path("/dev/shm")
GONE_S = 30.0


class Leftovers:
    """Of the processes that have a mark.

    Args:
        mark: the value of :data:`MARK` in their environment.
        temporary: their folder for temporary files.
    """

    def __init__(self, mark: str, temporary: Path) -> None:
        self._mark, self._temporary = f"{MARK}={mark}".encode(), temporary
        self._shared, self._ports = _names(SHARED), set[int]()

    def pids(self) -> list[int]:
        """Those that live; the ports on which they listen are remembered."""
        found = [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and self._marked(p)]
        for pid in found:
            self._ports |= _ports(pid)
        return found

    def nothing(self, within_s: float = GONE_S) -> float:
        """Seconds until nothing is left."""
        start = time.monotonic()
        while left := self._left():
            assert time.monotonic() - start < within_s, f"left after {within_s} s: {left}"
            time.sleep(0.1)
        return time.monotonic() - start

    def _left(self) -> str:
        pids = self.pids()
        listening = {port for port, _ in _listening(Path("/proc/net"))} & self._ports
        shared = [name for name in _names(SHARED) - self._shared if not _held(SHARED / name)]
        files = _names(self._temporary)
        found = {"processes": pids, "ports": listening, "shared memory": shared, "files": files}
        return ", ".join(f"{what} {some}" for what, some in found.items() if some)

    def _marked(self, folder: Path) -> bool:
        try:
            return self._mark in (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            return False


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def _ports(pid: int) -> set[int]:
    """TCP ports on which a process listens."""
    sockets: set[str] = set()
    try:
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            sockets.add(str(fd.readlink()))
        return {port for port, inode in _listening(Path(f"/proc/{pid}/net")) if f"socket:[{inode}]" in sockets}
    except OSError:  # it has ended
        return set()


def _listening(net: Path) -> set[tuple[int, str]]:
    """Ports on which anybody listens, and their sockets, see proc(5)."""
    lines = [line.split() for name in ("tcp", "tcp6") for line in (net / name).read_text().splitlines()[1:]]
    return {(int(line[1].rpartition(":")[2], 16), line[9]) for line in lines if line[3] == "0A"}


def _held(path: Path) -> bool:
    """Whether a process that lives has the file: then it isn't a leftover, whoever's it is."""
    for process in (p for p in Path("/proc").iterdir() if p.name.isdigit()):
        try:
            if str(path) in (process / "maps").read_text():
                return True
            if any(path == fd.readlink() for fd in (process / "fd").iterdir()):
                return True
        except OSError:
            continue
    return not path.exists()
