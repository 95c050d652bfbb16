"""Canonical JSON: equal values give equal text, and equal texts equal digests; what identity is made of."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def canonical(value: Any) -> str:
    """Canonical JSON: sorted keys, no spaces, no NaN; equal values give equal text."""
    return _ENCODER.encode(value)


@lru_cache(maxsize=4096, typed=True)
def scalar(value: str | int | float | None) -> str:
    """Canonical JSON of a scalar; ``typed`` keeps 1 and 1.0 apart."""
    return canonical(value)


def digest(text: str) -> str:
    """The first 20 hex digits of the sha256 of ``text``."""
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def without(text: str, *paths: str) -> str:
    """Digest of canonical JSON less some dotted ``paths``: what the texts agree in that share it."""
    data = json.loads(text)
    for path in paths:
        *parents, last = path.split(".")
        node = data
        for key in parents:
            node = node[key]
        node.pop(last, None)
    return digest(canonical(data))


def plain(value: Any) -> Any:
    """Dataclasses and tuples as plain JSON values; a float that is whole stays a float."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [plain(v) for v in value]
    return value
