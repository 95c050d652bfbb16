"""What Ray keeps free for a pack, and where: one bundle a rank.

A pack of one rank trains in the worker itself, which has the bundle. The worker of a gang only talks to its ranks: it
takes nothing (an empty head bundle, to Tune) and sits beside the first rank.

All ranks of a gang are on one node, ``STRICT_PACK``: planning makes no gang that no single machine holds, so there is
always a node that can; and a gang that was spread because room happened to be free in two places would send its
gradients, at stage 3 all its weights at every pass, over the network for as long as it stays warm. A cluster that grows
is asked for a node that holds all of it.

A pack that is for a type of node asks for it by its label, and so starts such a node where there is none: version 2 of
the autoscaler heeds the labels of bundles.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ray.tune import PlacementGroupFactory

from orchestrator.driver.ray.nodes import NODE_TYPE
from orchestrator.driver.room import Taken, rank
from trials.setup import Setup

NODE_ID = "ray.io/node-id"  # a label that Ray gives every node


def request(setup: Setup, excluded: Sequence[str] = (), near: str = "") -> PlacementGroupFactory:
    """The resources of a pack. Workers are kept for packs that ask for the same, in the same places.

    Args:
        excluded: nodes that it must not go to.
        near: the node that it should go to, if there is room.
    """
    gang = setup.ranks > 1
    where: dict[str, Any] = {}
    labels = {NODE_TYPE: setup.node_type} if setup.node_type else {}
    if excluded:
        labels[NODE_ID] = f"!in({', '.join(sorted(excluded))})"
    if labels:
        where["bundle_label_selector"] = [labels] * setup.ranks
    if gang or near:
        where["strategy"] = "STRICT_PACK"
    if near:
        where["_soft_target_node_id"] = near
    return PlacementGroupFactory([{}] * gang + [bundle(rank(setup))] * setup.ranks, **where)


def bundle(taken: Taken) -> dict[str, float]:
    """What is taken, in Ray's words."""
    return {"CPU": taken.cpus, "GPU": taken.gpus, "memory": taken.memory}
