"""A sweep file as plain values, with the place in the file of every key and value.

YAML 1.2 through ruamel.yaml's node graph: a key given twice, a tag or a merge key is an error, and all of
them are collected, each with its line and column.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from trials.errors import ApetError, Problems
from trials.sweep.scanner import MOST_LEVELS, parser

Path = tuple[str | int, ...]

_NAMED = {
    "backbones": "name",
    "tasks": "name",
    "evaluate_on": "name",
    "methods": "method",
}  # lists of names or mappings
_SCALARS = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str")}
MOST_CHARACTERS = 1_000_000  # of a sweep file: the parser takes seconds for as many
MOST_VALUES = 50_000  # that aliases may stand for, keys included
_TEXTS = {f"tag:yaml.org,2002:{name}" for name in ("timestamp", "value", "merge")}  # YAML 1.2 reads these as text


@dataclass
class Document:
    """A parsed file.

    Args:
        text: as written.
        where: the file's name in messages.
        data: plain dicts, lists and scalars.
        values: place ("file:line:column") of the value at a path.
        keys: place of the key at a path.
    """

    text: str
    where: str
    data: Any = None
    values: dict[Path, str] = field(default_factory=dict)
    keys: dict[Path, str] = field(default_factory=dict)
    order: dict[str, tuple[int, int]] = field(default_factory=dict)

    def place(self, path: Path, key: bool = False) -> str:
        """Where ``path`` stands, or the nearest thing around it that the file has."""
        if key and path in self.keys:
            return self.keys[path]
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path, f"{self.where}:1:1")

    def holds(self, path: Path) -> bool:
        """Whether the file has something below ``path``."""
        return any(len(other) > len(path) and other[: len(path)] == path for other in self.values)


def dotted(path: Sequence[str | int]) -> str:
    """``methods.0.rank``."""
    return ".".join(str(part) for part in path)


def read(text: str, where: str) -> Document:
    """Parse ``text``.

    Raises:
        Problems: not YAML 1.2, a key twice, a tag, a merge key, an empty file, or far too large for a sweep.
    """
    if len(text) > MOST_CHARACTERS:
        said = f"{len(text):,} characters, and a sweep file has {MOST_CHARACTERS:,} at most"
        raise Problems([f"{where}:1:1: {said}; is it the right file?"], where)
    document = Document(text, where)
    node, loader = _compose(text, where)
    if node is None:
        raise Problems([f"{where}:1:1: the file is empty; `apet sweeps quickstart` prints one to start from"], where)
    walk = _Walk(document, loader)
    large = _Extent().too_large(node)
    if large is not None:
        found, why = large
        raise Problems([f"{walk.mark(found)}: {why}"], where)
    document.data = walk.value(node, ())
    if walk.problems:
        raise Problems(walk.problems, where)
    return document


def value_of(text: str, what: str) -> Any:
    """One YAML value, for ``--set KEY=VALUE``.

    Raises:
        ApetError: ``text`` is no YAML.
    """
    return read(f"- {text}", what).data[0]


def edited(text: str, changes: Mapping[Path, Any]) -> str:
    """``text`` with the values at some paths replaced, comments kept.

    A name in a list of backbones, tasks or methods becomes a mapping when a key below it is set.

    Raises:
        ApetError: a path leads through a scalar, or past the end of a list.
    """
    yaml = parser("rt")
    yaml.width = 1 << 16
    root = yaml.load(text)
    for path, value in changes.items():
        _assign(root, path, value)
    out = io.StringIO()
    yaml.dump(root, out)
    return out.getvalue()


def _assign(root: Any, path: Path, value: Any) -> None:
    node = root
    for depth, part in enumerate(path):
        known = _has(node, part, path[:depth])
        if depth == len(path) - 1:
            node[part] = value
            return
        if not known or node[part] is None:
            node[part] = {}
        elif isinstance(node[part], str) and depth and path[depth - 1] in _NAMED:
            node[part] = {_NAMED[str(path[depth - 1])]: str(node[part])}
        node = node[part]


def _has(node: Any, part: str | int, above: Path) -> bool:
    """Whether ``node`` has ``part``, where it could."""
    if isinstance(node, list):
        if isinstance(part, int) and part < len(node):
            return True
        raise ApetError(f"{dotted(above)} has no entry {part}; it is a list of {len(node)}, numbered from 0")
    if isinstance(node, dict):
        return str(part) in node
    raise ApetError(f"{dotted(above)} is {shown(node)}, which has no key {part} below it; set {dotted(above)} itself")


def _compose(text: str, where: str) -> tuple[Node | None, YAML]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("%YAML") and line.split()[1:2] != ["1.2"]:
            raise Problems([f"{where}:{number}:1: {line.strip()}: sweep files are YAML 1.2; drop this line"], where)
    yaml = parser("safe")
    try:
        return yaml.compose(text), yaml
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f"{mark.line + 1}:{mark.column + 1}" if mark else "1:1"
        reason = ", ".join(part for part in (error.problem, error.context) if part)
        raise Problems([f"{where}:{at}: not YAML: {reason}; mend this place first"], where) from None
    except (YAMLError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error).splitlines()[0]
        raise Problems([f"{where}:1:1: not YAML: {reason}; a sweep file is plain text"], where) from None


class _Extent:
    """How many values a node stands for with its aliases written out, and how deep they lie: each node is seen once."""

    def __init__(self) -> None:
        self.found: dict[int, tuple[int, int]] = {}

    def too_large(self, node: Node) -> tuple[Node, str] | None:
        """The innermost node that stands for too much, and why; None where there is none."""
        self.found[id(node)] = (1, 1)  # while it is open: an anchor that holds itself is refused elsewhere
        values, levels = 1, 0
        for child in _children(node):
            if id(child) not in self.found:
                inner = self.too_large(child)
                if inner is not None:
                    return inner
            below = self.found[id(child)]
            values, levels = values + below[0], max(levels, below[1])
        self.found[id(node)] = (values, levels + 1)
        if values > MOST_VALUES:
            return node, f"{values:,} values with its aliases, and {MOST_VALUES:,} is the most; give a sweep fewer"
        if levels + 1 > MOST_LEVELS:
            return node, f"nested too deeply, in {MOST_LEVELS} levels or more; a sweep needs six"
        return None


def _children(node: Node) -> list[Node]:
    if isinstance(node, MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, SequenceNode) else []


class _Walk:
    """Turns nodes into plain values, notes their places, collects problems."""

    def __init__(self, document: Document, loader: YAML) -> None:
        self.document, self.loader = document, loader
        self.problems: list[str] = []
        self.open: list[Node] = []

    def value(self, node: Node, path: Path) -> Any:
        self.document.values[path] = self.mark(node)
        if node in self.open:
            self.problems.append(f"{self.mark(node)}: {dotted(path)}: an anchor that holds itself; write it out")
            return None
        self.open.append(node)
        try:
            if isinstance(node, MappingNode):
                return self.mapping(node, path)
            if isinstance(node, SequenceNode):
                return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
            return self.scalar(node, path)
        finally:
            self.open.pop()

    def mapping(self, node: MappingNode, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self.scalar(key_node, path) if isinstance(key_node, ScalarNode) else None
            place = self.mark(key_node)
            if not isinstance(key, str):
                self.problems.append(f"{place}: {dotted(path)}: a key must be text, such as `name`")
            elif key == "<<":
                self.problems.append(f"{place}: {dotted((*path, key))}: YAML 1.2 has no merge keys; write the keys out")
            elif key in result:
                first = self.document.keys[(*path, key)]
                self.problems.append(
                    f"{place}: {dotted((*path, key))}: this key is there twice (first at {first}); keep one"
                )
            else:
                self.document.keys[(*path, key)] = place
                result[key] = self.value(value_node, (*path, key))
        return result

    def scalar(self, node: Node, path: Path) -> Any:
        tag = str(node.tag)
        if tag in _TEXTS:
            return node.value
        if tag not in _SCALARS:
            self.problems.append(f"{self.mark(node)}: {dotted(path)}: the tag {tag} means nothing here; drop it")
            return None
        try:
            value = self.loader.constructor.construct_object(node)
            if isinstance(value, str):
                value.encode()  # half a pair of surrogates is no text, and no file can be named by it
            return value
        except (YAMLError, ValueError):
            self.problems.append(f"{self.mark(node)}: {dotted(path)}: {shown(node.value)} can't be read as {tag[18:]}")
            return None

    def mark(self, node: Node) -> str:
        line, column = node.start_mark.line + 1, node.start_mark.column + 1
        place = f"{self.document.where}:{line}:{column}"
        self.document.order[place] = (line, column)
        return place


def shown(value: Any, limit: int = 60) -> str:
    """A value in a message: as YAML would write it, cut to ``limit`` characters."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return str(value).lower()
    odd = isinstance(value, str) and (value != value.strip() or not value.isprintable() or not value)
    text = f"{value!r}" if odd else f"{value}"
    return text if len(text) <= limit else text[: limit - 1] + "…"
