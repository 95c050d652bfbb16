"""Whether every node of a cluster sees the store, and which of them have the driver's code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.driver.ledger import Ledger
from orchestrator.driver.ray.leaving import leaving
from orchestrator.driver.ray.nodes import alive
from trials.code import differs, digest
from trials.errors import ApetError
from trials.store.store import Store

PROBE_S = 120.0  # a node may have to start a process first


def probe(store: Store, run_id: str) -> dict[str, str]:
    """Make sure that every node sees the store: a file that we write, looked for by a task on each.

    Nodes that are about to be taken away get no packs, and take no task of ours either.
    Nodes that join later are covered by the look at every row that a worker reports, and by every worker's at its code.

    Returns:
        Ray's ids of nodes for packs with other code than ours, which can't have any: what a person reads of each.

    Raises:
        ApetError: with the nodes that don't see the store.
    """
    import ray

    uri, name = Ledger(store).uri, f"{run_id}-probe"

    @ray.remote(num_cpus=0, max_retries=0)  # type: ignore[untyped-decorator]  # ray has no types here
    def sees() -> tuple[bool, str]:
        try:
            from trials.code import digest

            return Store(uri).stop_requested(name), digest()
        except ImportError:  # older code than this
            return Store(uri).stop_requested(name), ""

    gone = leaving()
    nodes = {node.node_id: node for node in alive() if node.node_id not in gone}
    store.request_stop(name)
    try:
        seen = _asked(sees, nodes)
    finally:
        store.end_run(name)
    blind = [node.host for node in nodes.values() if not seen[node.node_id][0]]
    if blind:
        raise ApetError(
            f"store {store.uri}: not seen by {len(blind)} nodes of the cluster ({', '.join(blind)}), whose rows would "
            "be lost; give a path on a shared file system, or a bucket such as s3://bucket/study"
        )
    strange = {name: seen[name][1] for name, node in nodes.items() if node.works and seen[name][1] != digest()}
    return {name: differs(nodes[name].host, there, digest()) for name, there in strange.items()}


def _asked(sees: Any, nodes: Iterable[str]) -> Mapping[str, tuple[bool, str]]:
    """What each node answers; one that doesn't, or is gone meanwhile, sees nothing."""
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as There

    found = {}
    for node in nodes:
        try:
            asked = sees.options(scheduling_strategy=There(node, soft=False)).remote()
            found[node] = ray.get(asked, timeout=PROBE_S)
        except RayError:
            found[node] = False, ""
    return found
