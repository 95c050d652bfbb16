"""What Ray's own schema says of a cluster file, all of it at once and with lines; Ray isn't imported."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path as FilePath
from typing import Any

from orchestrator.clusters.document import Path, dotted, mapping
from orchestrator.clusters.finding import Case, Problem, error, warning
from trials.errors import choices

PROVIDERS = ("aws", "gcp", "azure", "local", "vsphere", "aliyun", "kuberay", "spark", "external")
READ = {  # of the providers that are checked, keys of ``provider`` that Ray's code reads beside those in its schema
    "aws": {"aws_credentials", "key_pair", "use_external_head_ip"},
    "gcp": {"use_external_head_ip"},
    "local": {"coordinator_address", "external_head_ip"},
}


def ray(case: Case) -> Iterator[Problem]:
    """The file is what Ray's schema asks for."""
    from jsonschema import Draft7Validator

    raw = dict(case.file.raw)
    raw.pop("min_workers", None)  # Ray takes it out before it looks: `leftovers` says more
    for found in Draft7Validator(_schema()).iter_errors(raw):
        yield from _problems(found, tuple(found.absolute_path))


def leftovers(case: Case) -> Iterator[Problem]:
    """No key is left over from Ray 1: a ``min_workers`` at the top is dropped in silence."""
    if "min_workers" in case.file.raw and case.file.kind != "local":
        said = "min_workers at the top is dropped by Ray in silence"
        yield error(("min_workers",), said, "give it to a node type, below available_node_types")


def provider(case: Case) -> Iterator[Problem]:
    """The provider is one of Ray's."""
    kind = case.file.kind
    if kind and kind not in PROVIDERS:
        yield error(("provider", "type"), f"provider type {kind} is none of Ray's", choices(kind, PROVIDERS))
    elif kind and kind not in READ:
        said = f"of provider type {kind} only Ray's schema and what all have in common is checked"
        yield warning(("provider", "type"), said, f"look at the rest yourself; {', '.join(READ)} are checked")


def provider_keys(case: Case) -> Iterator[Problem]:
    """Its keys are such as Ray reads: it lets any pass."""
    kind = case.file.kind
    if kind in READ or not kind:
        known = set(_schema()["properties"]["provider"]["properties"]) | READ.get(kind, set())
        for key in case.file.provider:
            if key not in known:
                yield error(
                    ("provider", key), f"provider.{key}: Ray doesn't read it, and says nothing", _near(key, known)
                )


@cache
def _schema() -> dict[str, Any]:
    found = find_spec("ray")
    assert found is not None, "ray is a dependency"
    assert found.origin is not None, "ray is a package"
    file = FilePath(found.origin).parent / "autoscaler" / "ray-schema.json"
    schema: dict[str, Any] = json.loads(file.read_text())
    return schema


def _problems(found: Any, path: Path) -> Iterator[Problem]:
    """One error of the schema; of several unknown keys, one each."""
    inner = path[2:] if path[:1] == ("available_node_types",) else path
    where = f"{dotted(inner)}: " if inner else ""
    if found.validator == "additionalProperties" and isinstance(found.instance, Mapping):
        known = mapping(found.schema.get("properties"))
        for key in found.instance:
            if key not in known and not found.schema.get("patternProperties"):
                yield error((*path, key), f"{where}{key} is no key of Ray's here", _near(key, known))
    elif found.validator == "required":
        for key in found.validator_value:
            if key not in found.instance:
                yield error(path, f"{where}{key} is missing", f"add {key}: …, {_means(found.schema, key)}")
    else:
        yield error(path, f"{where}{_short(found.message)}", f"Ray's schema says: {_rule(found)}")


def _near(key: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(key, names, n=1)
    return f"did you mean {near[0]}? Else drop it" if near else f"drop it; known are {', '.join(names)}"


def _means(schema: Mapping[str, Any], key: str) -> str:
    said = mapping(mapping(schema.get("properties")).get(key)).get("description")
    return str(said).rstrip(".") if said else "even if it is empty: {}"


def _rule(found: Any) -> str:
    return f"{found.validator} {found.validator_value if not isinstance(found.validator_value, dict) else '…'}"


def _short(text: str, limit: int = 120) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
