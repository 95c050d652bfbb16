"""What this project reads of node types: their name and price, as labels."""

from __future__ import annotations

import re
from collections.abc import Iterator

from orchestrator.clusters.document import mapping
from orchestrator.clusters.finding import Case, Problem, error, warning
from orchestrator.driver.ray.nodes import NODE_TYPE, PRICE

_VALUE = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9_.-]{0,61}[a-zA-Z0-9])?")  # Ray's


def name(case: Case) -> Iterator[Problem]:
    """Every node type says its name in a label: rows have it as ``node_type``."""
    for one in case.file.node_types.values():
        label = one.labels.get(NODE_TYPE)
        if label is None:
            said = f"no label {NODE_TYPE}: rows can't say that they come from it"
            yield warning(one.at("labels"), said, f"add labels: {{{NODE_TYPE}: {one.name}}}")
        elif label != one.name:
            said = f"its label {NODE_TYPE} is {label}, and rows will say that"
            yield warning(one.at("labels", NODE_TYPE), said, f"write {NODE_TYPE}: {one.name}")


def price(case: Case) -> Iterator[Problem]:
    """Every node type says its price, so that packs go where they cost the least."""
    for one in case.file.node_types.values():
        label = one.labels.get(PRICE)
        if label is None:
            said = f"no label {PRICE}: what it costs isn't known, and no pack can go where it is cheap"
            yield warning(one.at("labels"), said, f'add {PRICE}: "1.21" to its labels: $ an hour of one node')
        elif not one.price:
            said = f"{PRICE} {label!r} is no price"
            yield error(one.at("labels", PRICE), said, 'write $ an hour as a number in quotes: "1.21"')


def values(case: Case) -> Iterator[Problem]:
    """Labels have a form that Ray takes; else no node of that type starts."""
    for one in case.file.node_types.values():
        for key, value in mapping(one.labels).items():
            if not _VALUE.fullmatch(value):
                said = f"label {key}: {value!r}: Ray takes letters, digits, -, _ and . only, 63 at most"
                yield error(one.at("labels", key), said, "write it so that it begins and ends with a letter or digit")
