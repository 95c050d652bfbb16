"""Specs beside each other: what tells them apart, and in what they differ."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from trials.keys import AXES


def operations_label(spec: str) -> str:
    """The operations of an apet spec, with their shares where they differ.

    >>> operations_label('{"method": {"operations": {"add": 1, "plug": 1}}}')
    'add+plug'
    """
    shares: dict[str, int] = json.loads(spec)["method"].get("operations") or {}
    equal = len(set(shares.values())) <= 1
    return "+".join(op if equal else f"{op}:{share}" for op, share in shares.items())


def variants(specs: Sequence[str], names: Sequence[Hashable]) -> list[str]:
    """What tells apart the specs that have one name, by the last part of each key: ``steps 90``; '' for the others.

    Count, seeds and learning rate never do.
    """
    alike: dict[Hashable, list[Mapping[str, Any]]] = defaultdict(list)
    for spec, name in zip(specs, names, strict=True):
        alike[name].append(_parsed(spec))
    told: dict[Hashable, list[str]] = {}
    for name, group in alike.items():
        keys = {key for flat in group for key in flat} - {*AXES, "method.count"}
        told[name] = sorted(key for key in keys if any(flat.get(key) != group[0].get(key) for flat in group))
    taken = {name: iter(group) for name, group in alike.items()}  # each in the order of the specs
    return [_named(next(taken[name]), told[name]) for name in names]


def _named(flat: Mapping[str, Any], keys: Iterable[str]) -> str:
    return ", ".join(f"{key.rpartition('.')[2]} {_short(flat.get(key))}" for key in keys)


def _short(value: Any) -> str:
    if isinstance(value, list):
        return f"{len(value)} tasks" if value else "none"  # evaluate_on, the one list of a spec
    return str(value)[:12] if isinstance(value, str) else json.dumps(value)


def differences(spec: str, other: str) -> list[str]:
    """In what the runs of another spec differ that might have been trained beside this one; [] where in nothing.

    Method, seeds, learning rate and zero-shot targets don't matter, as in :func:`trials.keys.setting`.
    """
    mine, theirs = _parsed(spec), _parsed(other)
    return [
        f"{key} {theirs.get(key)} instead of {mine.get(key)}"
        for key in sorted(mine.keys() | theirs.keys())
        if mine.get(key) != theirs.get(key) and not key.startswith(("method.", "evaluate_on", *AXES))
    ]


def nearest(first: Mapping[str, Any], references: Iterable[list[dict[str, Any]]]) -> str:
    """In what the nearest full fine-tuning runs of the same backbone and task differ from a curve, or ''."""
    done = (next((r for r in rows if r["state"] != "failed"), None) for rows in references)
    same = (r for r in done if r is not None and all(r[k] == first[k] for k in ("backbone", "task")))
    found = sorted((differences(first["spec"], r["spec"]) for r in same), key=len)
    return ", ".join(found[0]) if found else ""


@lru_cache(maxsize=10_000)
def _parsed(spec: str) -> Mapping[str, Any]:
    return _flat(json.loads(spec))


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {path: value}
    return {k: v for key, inner in value.items() for k, v in _flat(inner, f"{path}.{key}" if path else key).items()}
