"""What is wrong with a cluster file: as a rule says it, and as it is printed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import TYPE_CHECKING

from orchestrator.clusters.document import Path
from orchestrator.clusters.file import ClusterFile

if TYPE_CHECKING:
    from orchestrator.clusters.holdings import Holding

ERROR, WARNING = "error", "warning"


@dataclass(frozen=True)
class Problem:
    """What a rule found.

    Args:
        level: ``error``: the cluster doesn't come up, does nothing, or is open to others; ``warning``: it costs more or
            does less than it could, or nobody can tell from the file.
        path: of the key that it is about; where the file lacks it, what is around it counts.
        said: the value and what is wrong with it, without the node type's name where the path has that.
        mend: what to do.
    """

    level: str
    path: Path
    said: str
    mend: str

    @property
    def node_type(self) -> str:
        """The node type that it is about; empty where it is about none."""
        return str(self.path[1]) if len(self.path) > 1 and self.path[0] == "available_node_types" else ""


def error(path: Path, said: str, mend: str) -> Problem:
    """A :class:`Problem` that stops a cluster."""
    return Problem(ERROR, path, said, mend)


def warning(path: Path, said: str, mend: str) -> Problem:
    """A :class:`Problem` that doesn't."""
    return Problem(WARNING, path, said, mend)


@dataclass(frozen=True)
class Finding:
    """A problem with its place in the file and the rule that found it.

    Args:
        line: from 1.
        level: ``error`` or ``warning``.
        rule: its name, ``file.function`` in ``orchestrator.clusters.rules``.
        problem: what is wrong.
        mend: what to do.
    """

    line: int
    level: str
    rule: str
    problem: str
    mend: str


@dataclass(frozen=True)
class Case:
    """What rules look at.

    Args:
        file: the cluster file.
        here: the folder in which ``ray up`` will run; mounts are relative to it.
        home: of whoever runs it.
        environ: of whoever runs it.
        store: where results are to go; None: not said.
        sweep: the name of what is to run; None: not said.
        holdings: which node type holds what of it.
    """

    file: ClusterFile
    here: FilePath
    home: FilePath
    environ: Mapping[str, str]
    store: str | None = None
    sweep: str | None = None
    holdings: tuple[Holding, ...] = ()

    def local(self, path: str) -> FilePath:
        """A path of the file on the launching side, as Ray takes it."""
        expanded = str(self.home) + path[1:] if path == "~" or path.startswith("~/") else path
        return self.here / expanded

    def starts(self, head: bool) -> list[tuple[Path, str]]:
        """Commands that start Ray on the head, or on workers; none where the file leaves them to Ray."""
        key = start_key(head)
        return [(path, text) for path, text in self.file.commands() if path[-2] == key]

    def scripts(self, head: bool) -> list[tuple[Path, str]]:
        """All commands that run on the head, or on workers, those of the set-up before those that start Ray."""
        mine = {"initialization_commands", "setup_commands", f"{'head' if head else 'worker'}_setup_commands"}
        return [one for one in self.file.commands() if one[0][-2] in mine] + self.starts(head)


def start_key(head: bool) -> str:
    """The key of the commands that start Ray."""
    return f"{'head' if head else 'worker'}_start_ray_commands"
