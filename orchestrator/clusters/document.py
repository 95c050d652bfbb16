"""YAML as Ray reads it, by PyYAML, with the line of every key and what PyYAML keeps silent about.

Sweep files are YAML 1.2 (``trials.sweep.yaml``). A cluster file is Ray's, which reads YAML 1.1: merge keys are fine
there, ``on`` is true, and of a key that is there twice the last one counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml

from trials.errors import ApetError

Path = tuple[str | int, ...]

MOST_VALUES = 20_000  # of a cluster file, aliases written out; the largest of ours has some hundreds
_PLAIN = {"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}
MOST_BEHIND = 200  # characters of a comment that are said


@dataclass
class Document:
    """A parsed file.

    Args:
        text: as written.
        data: plain dicts, lists and scalars; every key is text.
        lines: of the key, or of the entry of a list, at a path; from 1.
        comments: what a comment behind an unquoted text cuts off, by path: ``# and the rest``.
        doubles: keys that are there twice: the path, the line of the second one and that of the first.
        odd_keys: keys that PyYAML doesn't read as text (``on``, ``1``): the path, the line and what it reads.
    """

    text: str
    data: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    comments: dict[Path, str] = field(default_factory=dict)
    doubles: list[tuple[Path, int, int]] = field(default_factory=list)
    odd_keys: list[tuple[Path, int, object]] = field(default_factory=list)

    def line(self, path: Path) -> int:
        """Where ``path`` stands, or the nearest thing around it that the file has; from 1."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def dotted(path: Path) -> str:
    """``available_node_types.large.resources``."""
    return ".".join(str(part) for part in path)


def read(text: str, where: str) -> Document:
    """Parse ``text``.

    Args:
        text: of the file.
        where: its name in messages.

    Raises:
        ApetError: not YAML, a tag that Ray refuses, an anchor that holds itself, or far too large.
    """
    loader = None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        document = Document(text)
        if node is not None:
            document.data = _Walk(document, loader, where).value(node, ())
        return document
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        reason = ", ".join(part for part in (error.problem, error.context) if part)
        raise ApetError(f"{where}:{line}: not YAML: {reason}; mend this place first") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, ApetError):
            raise
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error).splitlines()[0]
        raise ApetError(f"{where}:1: not YAML: {reason}; a cluster file is plain text") from None
    finally:
        if loader is not None:
            loader.dispose()


class _Walk:
    """Turns nodes into plain values, and notes their lines."""

    def __init__(self, document: Document, loader: Any, where: str) -> None:
        self.document, self.loader, self.where = document, loader, where
        self.open: list[Any] = []
        self.seen = 0

    def value(self, node: Any, path: Path) -> Any:
        """The value of a node."""
        self.seen += 1
        line = node.start_mark.line + 1
        if self.seen > MOST_VALUES:
            raise ApetError(f"{self.where}:{line}: {MOST_VALUES:,} values and more, aliases written out; give it fewer")
        if any(node is one for one in self.open):
            raise ApetError(f"{self.where}:{line}: {dotted(path)}: an anchor that holds itself; write it out")
        if not isinstance(node, yaml.ScalarNode) and node.tag not in _PLAIN:
            raise ApetError(f"{self.where}:{line}: {dotted(path)}: the tag {node.tag} means nothing to Ray; drop it")
        self.document.lines.setdefault(path, line)
        self.open.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self.mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
            return self.scalar(node, path)
        finally:
            self.open.pop()

    def mapping(self, node: Any, path: Path) -> dict[str, Any]:
        """A mapping, what it merges included; of a key that is there twice the last one, as PyYAML has it."""
        first: dict[str, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                line = key.start_mark.line + 1
                if key.value in first:
                    self.document.doubles.append(((*path, key.value), line, first[key.value]))
                first.setdefault(key.value, line)
        self.loader.flatten_mapping(node)
        result: dict[str, Any] = {}
        for key, value in node.value:
            read, line = self.constructed(key, path), key.start_mark.line + 1
            name = read if isinstance(read, str) else str(key.value)
            inner = (*path, name)
            if not isinstance(read, str):
                self.document.odd_keys.append((inner, line, read))
            self.document.lines[inner] = line
            result[name] = self.value(value, inner)
        return result

    def constructed(self, node: Any, path: Path) -> Any:
        """A key's or a scalar's value."""
        try:
            return self.loader.construct_object(node, deep=True)
        except (ValueError, TypeError, AttributeError) as error:  # a date that is none, a tag that doesn't fit
            at = f"{self.where}:{node.start_mark.line + 1}: {dotted(path)}"
            raise ApetError(f"{at}: {node.value!r} can't be read as {node.tag}: {error}; quote it") from None

    def scalar(self, node: Any, path: Path) -> Any:
        """A scalar; what a comment cuts off it is noted."""
        value, text, end = self.constructed(node, path), self.document.text, node.end_mark.index
        rest = text[end : end + MOST_BEHIND].partition("\n")[0]
        if not node.style and isinstance(value, str) and rest.lstrip().startswith("#"):
            self.document.comments[path] = rest.strip()
        return value


def mapping(value: Any) -> dict[str, Any]:
    """A value of the file where it is a mapping; an empty one where it is something else, which the schema refuses."""
    return value if isinstance(value, dict) else {}


def whole(value: Any, default: int) -> int:
    """A number of the file, where it is one that can be."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return int(value) if number and 0 <= value < 2**62 else default
