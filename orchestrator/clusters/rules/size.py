"""Which nodes there are, how many of them, and how long they stay."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.clusters.document import mapping, whole
from orchestrator.clusters.finding import Case, Problem, error, warning
from trials.errors import choices


def types(case: Case) -> Iterator[Problem]:
    """Node types are given, and one of them is the head's: Ray's own are small machines without a card."""
    raw = case.file.raw
    if case.file.kind == "local":
        return
    known = mapping(raw.get("available_node_types"))
    if not known:
        said = "no available_node_types: Ray's own are small machines without a card"
        yield error(("available_node_types",), said, "name yours; the project's cluster.yaml shows how")
        return
    head = raw.get("head_node_type")
    if head is None:
        yield error((), "head_node_type is missing", f"name the head's node type; {choices('', known)}")
    elif str(head) not in known:
        said = f"head_node_type {head} is none of available_node_types"
        yield error(("head_node_type",), said, choices(head, known))


def limit(case: Case) -> Iterator[Problem]:
    """The cluster's ``max_workers`` lets its node types start, and isn't left to Ray, which takes 2."""
    raw, kinds = case.file.raw, case.file.node_types.values()
    if case.file.kind == "local":
        return
    wanted = sum(_own(raw, one.name) for one in kinds if not one.head)
    least = sum(one.min_workers for one in kinds)
    most = whole(raw.get("max_workers"), 2)
    if "max_workers" not in raw and wanted > 2:
        said = "max_workers is missing, and Ray takes 2 for the whole cluster"
        yield warning((), said, f"add max_workers: {wanted}, or as many nodes as you want to pay for at a time")
    if raw.get("max_workers") == 0 and any(not one.head for one in kinds):
        said = "max_workers is 0: no worker will ever start"
        yield error(("max_workers",), said, f"set as many as you want to pay for at a time, {max(wanted, 1)} say")
    elif least > most:
        said = f"max_workers is {most}, and the node types' min_workers together are {least}"
        yield error(("max_workers",), said, f"set max_workers to {least} or more")


def idle_types(case: Case) -> Iterator[Problem]:
    """Every worker's node type may start."""
    for one in case.file.node_types.values():
        if not one.head and mapping(_section(case, one.name)).get("max_workers") == 0:
            said = "max_workers is 0, so that no such node ever starts"
            yield warning(one.at("max_workers"), said, "raise it, or drop the node type")


def minimum(case: Case) -> Iterator[Problem]:
    """No worker is up without need: ``min_workers`` is 0, or somebody wants to pay for it."""
    for one in case.file.node_types.values():
        if one.min_workers and not one.head:
            said = f"min_workers is {one.min_workers}: so many are up, and paid for, until `ray down`"
            yield warning(one.at("min_workers"), said, "set 0, if they are to go when nothing needs them")


def head(case: Case) -> Iterator[Problem]:
    """The head trains nothing where there are workers: what kills it ends the run."""
    one = case.file.head
    if one is None:
        return
    if case.file.workers and one.resources.get("CPU") != 0:
        said = "the head takes trials: with memory full it dies, and the run with it"
        yield warning(one.at("resources"), said, "set resources: {CPU: 0} for it")
    if one.max_workers:
        said = "the head's node type may start as a worker too"
        yield warning(one.at("max_workers"), said, "set max_workers: 0 for it")
    if not case.file.workers and one.resources.get("CPU") == 0:
        said = "nothing can train: there is no worker, and the head has CPU: 0"
        yield error(one.at("resources", "CPU"), said, "add a worker's node type, or drop CPU: 0")


def idle(case: Case) -> Iterator[Problem]:
    """It is said when idle nodes go."""
    if case.file.workers and "idle_timeout_minutes" not in case.file.raw:
        said = "idle_timeout_minutes is missing, and Ray takes 5 minutes"
        yield warning((), said, "add idle_timeout_minutes: 5, or as long as you want to pay for an idle node")


def promises(case: Case) -> Iterator[Problem]:
    """``resources`` promise no more than the machine has."""
    for one in case.file.node_types.values():
        if one.shape is None:
            continue
        for key, there in (("CPU", one.shape.cpus), ("GPU", one.shape.gpus)):
            promised = one.resources.get(key, 0)
            if isinstance(promised, int) and promised > there:
                said = f"resources promise {key}: {promised}, and an {one.instance} has {there}"
                yield error(
                    one.at("resources", key), said, f"write {key}: {there}, or drop it on AWS: Ray knows it there"
                )


def _own(raw: dict[str, object], name: str) -> int:
    """A node type's own limit, without the cluster's; 1 where it has none."""
    return whole(mapping(mapping(raw.get("available_node_types")).get(name)).get("max_workers"), 1)


def _section(case: Case, name: str) -> object:
    return mapping(case.file.raw.get("available_node_types")).get(name)
