"""What has to be the same on all ranks: each compares before a pack, and refuses where it isn't."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from trials.canonical import canonical, digest
from trials.failures import InfrastructureError
from trials.pack import Pack
from workers.environment import environment
from workers.gang.gang import Gang

VERSIONS = ("apet", "torch", "deepspeed", "transformers")


def settings(pack: Pack, engine: str, limits: Mapping[str, Any] | None) -> dict[str, Any]:
    """All that decides what a rank does next, by name."""
    here = environment()
    versions = {f"the version of {name}": here["versions"].get(name) for name in VERSIONS}
    return {
        **asdict(pack.setup),
        "engine": engine,
        **versions,
        "the commit": here["commit"],
        "the limits of memory": limits,
        "the pack's digest": digest(pack.to_json()),
    }


def check(gang: Gang, mine: Mapping[str, Any]) -> None:
    """Compare; every rank calls it, and where one differs every rank raises alike.

    Raises:
        InfrastructureError: the first thing that isn't the same, and both values.
    """
    first, *others = gang.gather(dict(mine))
    for rank, its in enumerate(others, start=1):
        for name, value in first.items():
            if canonical(its.get(name)) != canonical(value):
                raise InfrastructureError(
                    f"the ranks of a gang must be alike, and {name} is {its.get(name)!r} on rank {rank} and {value!r} "
                    "on rank 0"
                )
