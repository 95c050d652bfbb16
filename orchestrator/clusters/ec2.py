"""What EC2's API takes, as boto3 has it on this machine; nothing is asked of anybody."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from typing import Any

from orchestrator.clusters.document import Path, dotted
from orchestrator.clusters.finding import ERROR, WARNING

RAYS = {"SubnetIds"}  # keys of node_config that Ray reads itself
SET = {"MinCount", "MaxCount"}  # that Ray sets
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "list": (list,),
    "structure": (dict,),
    "map": (dict,),
}

Wrong = tuple[str, Path, str, str]  # level, path below ``node_config``, what is wrong, mend


def known() -> bool:
    """Whether boto3 is here."""
    return find_spec("botocore") is not None


@cache
def instances() -> frozenset[str]:
    """Instance types that boto3 knows; none without it."""
    return frozenset(_model().shape_for("InstanceType").enum) if known() else frozenset()


def wrong(config: Mapping[str, Any]) -> list[Wrong]:
    """What RunInstances would refuse of a ``node_config``, without asking it."""
    shape = _model().operation_model("RunInstances").input_shape
    return list(_structure({key: value for key, value in config.items() if key not in RAYS}, shape, (), SET))


@cache
def _model() -> Any:
    import botocore.session

    return botocore.session.get_session().get_service_model("ec2")


def _value(value: Any, shape: Any, path: Path) -> Iterator[Wrong]:
    types = _TYPES.get(shape.type_name)
    if types and (not isinstance(value, types) or (isinstance(value, bool) and bool not in types)):
        said = f"{dotted(path)} is {value!r}, and a {shape.type_name} belongs there"
        yield ERROR, path, said, "write it as EC2's RunInstances has it"
    elif shape.type_name == "structure":
        yield from _structure(value, shape, path)
    elif shape.type_name == "list":
        for index, inner in enumerate(value):
            yield from _value(inner, shape.member, (*path, index))
    elif shape.type_name == "string" and shape.enum and value not in shape.enum and shape.name != "InstanceType":
        said = f"{dotted(path)}: boto3 here, which may be older than it, doesn't know {value!r}"
        yield WARNING, path, said, _near(value, shape.enum)


def _structure(value: Mapping[str, Any], shape: Any, path: Path, without: Collection[str] = ()) -> Iterator[Wrong]:
    for key, inner in value.items():
        if key in shape.members:
            yield from _value(inner, shape.members[key], (*path, key))
        else:
            said = f"{dotted((*path, key))} is no parameter of EC2's RunInstances"
            yield ERROR, (*path, key), said, _near(key, list(shape.members))
    for key in shape.required_members:
        if key not in value and key not in without:
            yield ERROR, path, f"{dotted((*path, key))} is missing", "EC2's RunInstances needs it"


def _near(name: str, choices: list[str]) -> str:
    near = difflib.get_close_matches(name, choices, n=1)
    return f"did you mean {near[0]}? Else drop it" if near else f"known are {', '.join(sorted(choices))}"
