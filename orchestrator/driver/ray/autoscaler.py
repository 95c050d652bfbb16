"""What a cluster's autoscaler may still start.

Ray has no public word for it. Managed clusters report their node groups to the cluster itself; the autoscaler of
``ray up`` has them in a file on the head, which its process names on its command line.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.driver.ray.nodes import NODE_TYPE

HEAD = "node:__internal_head__"  # a resource of the head alone
MONITOR, OPTION = "monitor.py", "--autoscaling-config="
ASK_S = 30.0  # the head may have to start a process first
MANY = 1000  # nodes of a group without a limit


class Kind(NamedTuple):
    """Of node: its name, what one has, how many there may be, its labels."""

    name: str
    resources: Mapping[str, float]
    limit: int
    labels: Mapping[str, str] = {}


def more(there: Sequence[Kind]) -> list[Kind]:
    """Nodes with a CPU or GPU that an autoscaler may start beside those that are there, one of each."""
    import ray

    config = ray._private.state.state.get_cluster_config()
    kinds = _reported(config) if config is not None else _on_head(ray)
    left = [kind._replace(limit=kind.limit - sum(_is(one, kind) for one in there)) for kind in kinds]
    return [kind for kind in left if any(_size(kind.resources)) and kind.limit > 0]


def _is(one: Kind, kind: Kind) -> bool:
    """Whether a node is of a kind: by the label that says so, where there is none by what it has."""
    if label := kind.labels.get(NODE_TYPE):
        return one.labels.get(NODE_TYPE) == label
    return _size(one.resources) == _size(kind.resources)


def _size(resources: Mapping[str, float]) -> tuple[float, float]:
    return resources.get("CPU", 0), resources.get("GPU", 0)


def groups(config: dict[str, Any]) -> list[Kind]:
    """The node types of a cluster file, as ``ray up`` leaves it on the head."""
    most = config.get("max_workers", 0)
    return [
        Kind(name, kind.get("resources", {}), min(most, kind.get("max_workers", most)), kind.get("labels") or {})
        for name, kind in config.get("available_node_types", {}).items()
        if name != config.get("head_node_type")
    ]


def _reported(config: Any) -> list[Kind]:
    """Node groups that the cluster was told of, which have no labels; a limit of -1 is none."""
    return [
        Kind(group.name, dict(group.resources), group.max_count if group.max_count >= 0 else MANY)
        for group in config.node_group_configs
    ]


def _on_head(ray: Any) -> list[Kind]:
    """Node types in the file of the head's autoscaler; none where there is no autoscaler."""
    gcs = ray.get_runtime_context().gcs_address
    ask = ray.remote(num_cpus=0, max_retries=0, resources={HEAD: 0.001})(read)
    try:
        return groups(json.loads(ray.get(ask.remote(gcs), timeout=ASK_S)))
    except ray.exceptions.RayError:  # no head that answers: what is there is what there is
        return []


def read(gcs: str) -> str:
    """The autoscaler's configuration on this host, the head, as JSON; that of another cluster is passed over."""
    import yaml  # as Ray itself reads it

    port = gcs.rpartition(":")[2]
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_text().split("\0")
            if any(w.endswith(MONITOR) for w in words) and any(w.endswith(f":{port}") for w in words):
                file = next((w.removeprefix(OPTION) for w in words if w.startswith(OPTION)), None)
                return json.dumps(yaml.safe_load(Path(file).expanduser().read_text())) if file else "{}"
        except (OSError, ValueError, yaml.YAMLError):
            continue
    return "{}"
