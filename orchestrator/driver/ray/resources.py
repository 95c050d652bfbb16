"""What Ray keeps free for a pack, and where: one bundle a rank.

A pack of one rank trains in the worker itself, which has the bundle. The worker of a gang only talks to its ranks: it
takes nothing (an empty head bundle, to Tune) and sits beside the first rank.

Where planning knows a machine that holds a gang, all its ranks are on one node, ``STRICT_PACK``: one that was spread
because room happened to be free in two places would send its gradients, at stage 3 all its weights at every pass, over
the network for as long as it stays warm. A cluster that grows is asked for a node that holds all of it. A gang that no
single machine holds has a bundle a machine, with its part of the ranks, on as many nodes: ``STRICT_SPREAD``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ray.tune import PlacementGroupFactory

from orchestrator.driver.room import Taken, pack, rank
from orchestrator.planning.spread import part
from trials.setup import Setup

NODE_ID = "ray.io/node-id"  # a label that Ray gives every node


def request(setup: Setup, excluded: Sequence[str] = (), near: str = "") -> PlacementGroupFactory:
    """The resources of a pack. Workers are kept for packs that ask for the same, in the same places.

    Args:
        excluded: nodes that it must not go to.
        near: the node that it should go to, if there is room.
    """
    gang, spread = setup.ranks > 1, setup.machines > 1
    bundles = [bundle(pack(part(setup)))] * setup.machines if spread else [bundle(rank(setup))] * setup.ranks
    where: dict[str, Any] = {}
    if excluded:
        where["bundle_label_selector"] = [{NODE_ID: f"!in({', '.join(sorted(excluded))})"}] * len(bundles)
    if gang or near:
        where["strategy"] = "STRICT_SPREAD" if spread else "STRICT_PACK"
    if near and not spread:
        where["_soft_target_node_id"] = near
    return PlacementGroupFactory([{}] * gang + bundles, **where)


def bundle(taken: Taken) -> dict[str, float]:
    """What is taken, in Ray's words."""
    return {"CPU": taken.cpus, "GPU": taken.gpus, "memory": taken.memory}
