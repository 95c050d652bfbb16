"""Nodes that are about to be taken away: what trains there ends at its next batch, and goes on elsewhere from there.

Ray calls such a node draining. It gives it nothing more, starts another one where it can, lets what runs there go on,
and ends it when nothing does; of a deadline it only tells. A person drains a node (``ray drain-node``), Ray itself
where ``ray start --block`` is asked to end, and, where a cloud gives notice, the first worker or rank on it that hears
of it: on machines of ``ray up`` nobody else listens.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from orchestrator.driver.notice import notice
from orchestrator.driver.ray.nodes import Node, alive

LOOK_S = 5.0  # as Amazon advises
ANSWER_S = 5.0  # of the cluster


def watch(nodes: Sequence[str], then: Callable[[Node], None] = lambda node: None, look_s: float = LOOK_S) -> None:
    """Hear, from now on, of a notice to this machine, and of the first of ``nodes`` that is about to be taken away.

    Args:
        nodes: Ray's ids of them, this process's own among them.
        then: called once, in another thread, with that node.
        look_s: seconds between two looks.
    """
    threading.Thread(target=_watch, args=(nodes, then, look_s), name="leaving", daemon=True).start()


def leaving() -> set[str]:
    """Ray's ids of nodes that are about to be taken away."""
    return set(_gcs().get_draining_nodes(timeout=ANSWER_S))


def _watch(nodes: Sequence[str], then: Callable[[Node], None], look_s: float) -> None:
    told, gone = False, None
    while gone is None:
        with suppress(Exception):  # a cluster that doesn't answer: who trains has other ways to hear of that
            if not told and (left_s := notice()):
                _drain(left_s)
                told = True
            gone = _first_of(nodes)
        if gone is None:
            time.sleep(look_s)
    then(gone)


def _first_of(nodes: Sequence[str]) -> Node | None:
    """The first of these nodes that is about to be taken away."""
    found = leaving().intersection(nodes)
    return next((node for node in alive() if node.node_id in found), None) if found else None


def _drain(left_s: int) -> None:
    """Let the cluster know that this node has so many seconds left."""
    import ray
    from ray.core.generated.autoscaler_pb2 import DrainNodeReason

    node, deadline_ms = ray.get_runtime_context().get_node_id(), int(1000 * (time.time() + left_s))
    why = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    _gcs().drain_node(node, why, "its cloud takes it away", deadline_ms, timeout=ANSWER_S)


def _gcs() -> Any:
    """The cluster's own books, as this process asks them."""
    import ray

    return ray._private.worker.global_worker.gcs_client
