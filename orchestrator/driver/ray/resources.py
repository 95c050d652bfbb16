"""What Ray keeps free for a pack, and where: one bundle a rank."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ray.tune import PlacementGroupFactory

from orchestrator.driver.room import rank
from trials.setup import Setup

NODE_ID = "ray.io/node-id"  # a label that Ray gives every node


def request(setup: Setup, excluded: Sequence[str] = (), near: str = "") -> PlacementGroupFactory:
    """The resources of a pack. Workers are kept for packs that ask for the same, in the same places.

    Args:
        excluded: nodes that it must not go to.
        near: the node that it should go to, if there is room.
    """
    taken = rank(setup)
    bundle = {"CPU": taken.cpus, "GPU": taken.gpus, "memory": taken.memory}
    where: dict[str, Any] = {}
    if excluded:
        where["bundle_label_selector"] = [{NODE_ID: f"!in({', '.join(sorted(excluded))})"}] * setup.ranks
    if near:
        assert setup.ranks == 1, "a wish for one node"
        where |= {"strategy": "STRICT_PACK", "_soft_target_node_id": near}
    return PlacementGroupFactory([bundle] * setup.ranks, **where)
