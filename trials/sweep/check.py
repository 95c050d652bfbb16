"""Structural checks of a sweep file: every error at once, in our own words."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from trials.errors import Problems, choices
from trials.sweep import schema as sweep_schema
from trials.sweep.rules import BROKEN
from trials.sweep.schema import SweepFile
from trials.sweep.yaml import Document, Path, dotted, shown

MOST_SHOWN = 50  # problems: who has more begins with these
_KINDS = {"list_type": "a list, such as [a, b]", "model_type": "a mapping of keys", "dict_type": "a mapping of keys"}


class Findings:
    """Collects the problems of one document, in the order of the file, each once."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self._found: dict[str, tuple[int, int]] = {}
        self._paths: set[Path] = set()

    def add(self, path: Path, message: str, key: bool = False) -> None:
        """Note ``message`` about the value (or the ``key``) at ``path``."""
        place = self.document.place(path, key)
        line = f"{place}: {dotted(path)}: {message}" if path else f"{place}: {message}"
        self._found.setdefault(line, self.document.order.get(place, (0, 0)))
        self._paths.add(path)

    @property
    def any(self) -> bool:
        """Whether something was noted."""
        return bool(self._found)

    def below(self, path: Path) -> bool:
        """Whether something was noted at ``path`` or inside of it: then what follows from it can't be judged."""
        return any(noted[: len(path)] == path for noted in self._paths)

    def raise_any(self) -> None:
        """Raise what was noted.

        Raises:
            Problems: there is some.
        """
        if self._found:
            lines = sorted(self._found, key=lambda line: self._found[line])
            left = len(lines) - MOST_SHOWN
            rest = [f"{self.document.where}: and {left:,} more; mend these first"] if left > 0 else []
            raise Problems([*lines[:MOST_SHOWN], *rest], self.document.where)


def structure(report: Findings) -> SweepFile | None:
    """The document as models; what is wrong is reported and left out, so that the rest can still be checked.

    None when nothing useful is left.
    """
    data = copy.deepcopy(report.document.data)
    if not isinstance(data, dict):
        report.add(
            (), f"{shown(data)}: a sweep is a mapping of keys; `apet sweeps quickstart` prints one to start from"
        )
        return None
    twice(report, data, ())
    for _ in range(10):  # leaving something out may make what is around it incomplete: once per level of nesting
        try:
            return SweepFile.model_validate(data)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                path = _path(detail)
                if detail["type"] != "missing" or path not in report.document.values:  # else it was just left out
                    _word(report, detail, path)
                _leave_out(data, path[:-1] if detail["type"] == "missing" else path)
    return None


def twice(report: Findings, value: Any, path: Path) -> None:
    """Findings values that stand twice in one list, at any depth."""
    if isinstance(value, dict):
        for key, item in value.items():
            twice(report, item, (*path, key))
    if isinstance(value, list):
        seen: dict[Any, int] = {}
        for index, item in enumerate(value):
            first = seen.setdefault(_comparable(item), index)
            if first != index:
                report.add((*path, index), f"{shown(item)} is there twice (also {dotted((*path, first))}); keep one")
            twice(report, item, (*path, index))


def _comparable(value: Any) -> Any:
    """Equal for values that mean the same: 1 and 1.0, `full` and {method: full}."""
    if isinstance(value, dict):
        if len(value) == 1 and ("name" in value or "method" in value):
            return _comparable(next(iter(value.values())))
        return frozenset((key, _comparable(item)) for key, item in value.items())
    if isinstance(value, list):
        return tuple(_comparable(item) for item in value)
    return (isinstance(value, bool), value)


def _path(detail: ErrorDetails) -> Path:
    """The error's path without the tags of unions."""
    return tuple(part for part in detail["loc"] if not str(part).startswith("<") and part != "[key]")


def _word(report: Findings, detail: ErrorDetails, path: Path) -> None:
    """One pydantic error in our words."""
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        known = _keys(path[:-1], report.document.data)
        where = (
            "; it stands beside `blocks`, once for all"
            if path[0] == "blocks" and len(path) == 3 and path[-1] in _TOP
            else ""
        )
        report.add(path, f"unknown key{where}; {choices(path[-1], known)}", key=True)
    elif kind == "missing":
        report.add(path, "missing, and required here; add it", key=True)
    elif kind == "too_short":
        if not report.document.holds(path):  # else its entries were just left out
            report.add(path, "empty; it must have at least one entry")
    elif kind == "apet":
        inner = context.get("key")
        if inner and isinstance(value, dict):
            path, value = (*path, inner), value.get(inner)
        if inner and path not in report.document.values:
            report.add(path, f"missing; it must be {context['rule']}", key=True)
        else:
            message = f"{_what(value)}, must be {context['rule']}{_nearest(value, context['choices'])}"
            report.add(path, message, key="[key]" in detail["loc"])
    else:
        report.add(path, f"{_what(value)}, must be {_KINDS.get(kind, 'another value; see `apet sweeps --schema`')}")


def _nearest(value: Any, names: str) -> str:
    """The nearest of the valid names, which the rule has listed already."""
    near = difflib.get_close_matches(value, names.split(), n=1) if isinstance(value, str) else []
    return f"; did you mean {near[0]}?" if near else ""


def _what(value: Any) -> str:
    """A wrong value with its type where the type may be the mistake."""
    if isinstance(value, dict | list):
        return f"{shown(value)} is a {'mapping' if isinstance(value, dict) else 'list'}"
    if isinstance(value, str) and _is_number(value):
        return f"'{value}' is text in quotes"
    return shown(value)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


_TOP = tuple(name for name in SweepFile.model_fields if name not in sweep_schema.Block.model_fields)
_MODELS: dict[str, type[BaseModel]] = {
    "blocks": sweep_schema.Block,
    "backbones": sweep_schema.Backbone,
    "tasks": sweep_schema.Task,
    "evaluate_on": sweep_schema.Task,
    "training": sweep_schema.Training,
    "resources": sweep_schema.Resources,
}


def _keys(path: Path, data: Any) -> Iterable[str]:
    """The keys that may stand at ``path``."""
    names = [part for part in path if isinstance(part, str)]
    model: type[BaseModel] = _MODELS.get(names[-1], SweepFile) if names else SweepFile
    if names and names[-1] == "methods":
        for part in path:
            data = data[part]
        model = sweep_schema.METHOD_MODELS[data["method"]]
    if names and names[-1] == "counts":
        for part in path:
            data = data[part]
        model = sweep_schema.Like if "like" in data else sweep_schema.Range
    return [field.alias or name for name, field in model.model_fields.items()]


def _leave_out(data: Any, path: Path) -> None:
    """Take the value at ``path`` out of ``data``, keeping the places of its neighbours in a list."""
    node: Any = data
    last: Any = path[-1]
    try:
        for part in path[:-1]:
            node = node[part]
    except (KeyError, TypeError):  # what is around it has been left out
        return
    if isinstance(node, list):
        node[last] = BROKEN
    elif isinstance(node, dict):
        node.pop(last, None)
