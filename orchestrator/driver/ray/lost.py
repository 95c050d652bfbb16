"""Machines that are gone: a worker that went with one is no failure of its trials, whatever Ray was told before.

Ray itself takes a minute or so to give up a machine that is silent, and many seconds for one whose raylet was killed;
the workers' deaths are known before. So who has lost a worker knocks at its machine.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from orchestrator.driver.ray.deaths import Death
from trials.failures import PREEMPTED

KNOCK_S = 3.0
NOWHERE = "f" * 56  # Ray's id of no node


def judged(why: Death) -> Death:
    """The same death, its node being gone: then the trials were preempted. Others are as they were."""
    host = gone(why.node)
    return replace(why, host=host, lost=True, failure_class=PREEMPTED) if host else why


def gone(node: str) -> str:
    """The host of a node that is gone; empty of one that lives, or of which nothing is known.

    It is gone if Ray says so, or if its raylet can't be reached while another can.
    """
    import ray

    nodes: dict[str, Mapping[str, Any]] = {one["NodeID"]: one for one in ray.nodes()} if node else {}
    asked = nodes.pop(node, None)
    if asked is None:
        return ""
    alive = [other for other in nodes.values() if other["Alive"]]
    if asked["Alive"] and (_answers(asked) or not any(map(_answers, alive))):
        return ""
    return str(asked["NodeManagerHostname"] or asked["NodeManagerAddress"])


def node_of(actor: str) -> str:
    """The node where an actor is or was, by Ray's table of actors; empty where that doesn't know it.

    Args:
        actor: its id.
    """
    import ray

    try:
        return str(ray._private.state.actors(actor)["Address"]["NodeID"]).removeprefix(NOWHERE) if actor else ""
    except (KeyError, RuntimeError):
        return ""


def _answers(node: Mapping[str, Any]) -> bool:
    try:
        with socket.create_connection((node["NodeManagerAddress"], node["NodeManagerPort"]), KNOCK_S):
            return True
    except OSError:
        return False
