"""A file for ``ray up`` as this project sees it: its node types, its commands, and the line of everything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from orchestrator.clusters.document import Document, Path, mapping, read, whole
from orchestrator.clusters.node_type import NodeType, price
from orchestrator.planning.devices import Machine
from trials.errors import ApetError

MOST_CHARACTERS = 500_000


@dataclass(frozen=True)
class ClusterFile:
    """A parsed cluster file.

    Args:
        path: of the file.
        name: ``cluster_name``, empty where it has none.
        provider: the section, empty where it has none.
        node_types: by name, in the order of the file; none where machines are listed by address.
        document: values, lines, comments.
    """

    path: FilePath
    name: str
    provider: Mapping[str, Any]
    node_types: Mapping[str, NodeType]
    document: Document

    @staticmethod
    def load(path: str | FilePath) -> ClusterFile:
        """Read a file.

        Raises:
            ApetError: it isn't there, is no text, is empty, or is no YAML mapping.
        """
        where, text = FilePath(path), _text(FilePath(path))
        document = read(text, str(path))
        if document.data is None:
            raise ApetError(
                f"{path}:1: the file is empty; start from the project's cluster.yaml or a file in clusters/"
            )
        if not isinstance(document.data, dict):
            raise ApetError(f"{path}:1: not a cluster file: it is no mapping of keys such as cluster_name, provider")
        provider, name = mapping(document.data.get("provider")), document.data.get("cluster_name")
        return ClusterFile(where, name if isinstance(name, str) else "", provider, _types(document.data), document)

    @property
    def raw(self) -> dict[str, Any]:
        """The whole file as plain values, what PyYAML takes for the same as Ray takes it."""
        found: dict[str, Any] = self.document.data
        return found

    @property
    def kind(self) -> str:
        """The provider's type: ``aws``, ``gcp``, ``local``; empty where the file doesn't say it."""
        found = self.provider.get("type")
        return found if isinstance(found, str) else ""

    @property
    def head(self) -> NodeType | None:
        """The head's node type."""
        return next((one for one in self.node_types.values() if one.head), None)

    @property
    def workers(self) -> list[NodeType]:
        """Node types that the autoscaler may start."""
        return [one for one in self.node_types.values() if one.max_workers > 0]

    @property
    def nodes(self) -> int:
        """Nodes that there may be at a time, the head included."""
        if self.kind == "local":
            ips = self.provider.get("worker_ips")
            return 1 + (len(ips) if isinstance(ips, list) else 0)
        most = _limit(self.raw)
        return 1 + min(most, sum(one.max_workers for one in self.node_types.values()))

    def where(self, *path: str | int) -> int:
        """The line of a key, or of the nearest thing around it that the file has; from 1."""
        return self.document.line(path)

    def machines(self) -> tuple[Machine, ...]:
        """What packs may run on, for planning: every node type with CPUs, as far as the file or our tables say."""
        found = (one.machine() for one in self.node_types.values())
        return tuple(one for one in found if one is not None)

    def commands(self) -> list[tuple[Path, str]]:
        """Every shell command of the file, node types' own included, with its path."""
        found = []
        for path, section in [((), self.raw), *_sections(self.raw)]:
            for key in COMMANDS:
                some = section.get(key)
                if isinstance(some, list):
                    found += [((*path, key, i), one) for i, one in enumerate(some) if isinstance(one, str)]
        return found


COMMANDS = (
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
)
"""Keys that hold shell commands."""


def _text(path: FilePath) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ApetError(
            f"no cluster file at {path}; the project's own is cluster.yaml, others are in clusters/"
        ) from None
    except UnicodeDecodeError:
        raise ApetError(f"{path}: not a text in UTF-8; a cluster file is YAML") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ApetError(f"{path}: it can't be read: {reason}") from None
    if len(text) > MOST_CHARACTERS:
        raise ApetError(f"{path}: {len(text):,} characters; {MOST_CHARACTERS:,} is the most. Is it the right file?")
    return text


def _sections(raw: Mapping[str, Any]) -> list[tuple[Path, dict[str, Any]]]:
    types = mapping(raw.get("available_node_types"))
    return [(("available_node_types", name), mapping(one)) for name, one in types.items()]


def _types(raw: dict[str, Any]) -> dict[str, NodeType]:
    provider = mapping(raw.get("provider")).get("type")
    most, found = _limit(raw), {}
    for (_, name), one in _sections(raw):
        head = raw.get("head_node_type") == name
        labels = {key: text for key, text in mapping(one.get("labels")).items() if isinstance(text, str)}
        found[str(name)] = NodeType(
            name=str(name),
            resources=mapping(one.get("resources")),
            labels=labels,
            price=price(labels),
            node_config=mapping(one.get("node_config")),
            min_workers=whole(one.get("min_workers"), 0),
            max_workers=min(most, whole(one.get("max_workers"), 0 if head else most)),
            head=head,
            provider=str(provider),
        )
    return found


def _limit(raw: Mapping[str, Any]) -> int:
    """Workers at most: the default is Ray's."""
    return whole(raw.get("max_workers"), 2)
