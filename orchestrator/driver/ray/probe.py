"""Whether every node of a cluster sees the store."""

from __future__ import annotations

from orchestrator.driver.ledger import Ledger
from trials.errors import ApetError
from trials.store.store import Store

PROBE_S = 120.0  # a node may have to start a process first


def probe(store: Store, run_id: str) -> None:
    """Make sure that every node sees the store: a file that we write, looked for by a task on each.

    Nodes that join later are covered by the look at every row that a worker reports.

    Raises:
        ApetError: with the nodes that don't see it.
    """
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    uri, name = Ledger(store).uri, f"{run_id}-probe"

    @ray.remote(num_cpus=0, max_retries=0)  # type: ignore[untyped-decorator]  # ray has no types here
    def sees() -> bool:
        return Store(uri).stop_requested(name)

    store.request_stop(name)
    try:
        blind = []
        for node in (node for node in ray.nodes() if node["Alive"]):
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            try:
                seen = ray.get(sees.options(scheduling_strategy=there).remote(), timeout=PROBE_S)
            except RayError:  # it doesn't answer, or is gone meanwhile
                seen = False
            if not seen:
                blind.append(node["NodeManagerAddress"])
    finally:
        store.end_run(name)
    if blind:
        raise ApetError(
            f"store {store.uri}: not seen by {len(blind)} nodes of the cluster ({', '.join(blind)}), whose rows would "
            "be lost; give a path on a shared file system, or a bucket such as s3://bucket/study"
        )
