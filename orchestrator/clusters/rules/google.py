"""What a GCP file must say: Ray detects nothing there."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.clusters.document import mapping
from orchestrator.clusters.finding import Case, Problem, error, warning
from orchestrator.clusters.node_type import NodeType


def project(case: Case) -> Iterator[Problem]:
    """Project, region and zone are said."""
    if case.file.kind == "gcp":
        for key in ("project_id", "region", "availability_zone"):
            if not isinstance(case.file.provider.get(key), str):
                yield error(("provider", key), f"provider.{key} is missing", f"add {key}: …, of your project")


def zone(case: Case) -> Iterator[Problem]:
    """The zone is one of the region's."""
    region, name = (case.file.provider.get(key) for key in ("region", "availability_zone"))
    if case.file.kind == "gcp" and isinstance(region, str) and isinstance(name, str) and not name.startswith(region):
        said = f"availability_zone {name} isn't in region {region}"
        yield error(("provider", "availability_zone"), said, f"write a zone of it: {region}-b, say")


def machine(case: Case) -> Iterator[Problem]:
    """Every node type names a machine and an image."""
    for one in _types(case):
        if "machineType" not in one.node_config:
            said = "no machineType"
            yield error(one.at("node_config"), said, "add one: g2-standard-8 has a card of 24 GB")
        elif one.shape is None and one.machine() is None and one.nodes and one.resources.get("CPU") != 0:
            said = f"what a {one.instance} has isn't in this project's table, and nothing can be planned"
            mend = "give resources: {CPU, GPU, memory (bytes), accelerator_type:NAME}"
            yield warning(one.at("node_config", "machineType"), said, mend)
        if "sourceImage" not in str(one.node_config.get("disks")) and "sourceMachineImage" not in one.node_config:
            said = "no disk with a sourceImage"
            yield error(one.at("node_config"), said, "add disks, with initializeParams: {sourceImage, diskSizeGb}")


def resources(case: Case) -> Iterator[Problem]:
    """What a machine has is said in ``resources``: Ray doesn't know it on GCP, and would never start one."""
    for one in _types(case):
        shape = one.shape
        if "CPU" not in one.resources:
            what = f"{shape.cpus}" if shape else "…"
            said = "resources don't say CPU, and Ray doesn't detect it on GCP: no such node would start"
            yield error(one.at("resources"), said, f"add resources: {{CPU: {what}}}")
        if shape and shape.gpus and "GPU" not in one.resources:
            said = f"resources don't say GPU, and a {one.instance} has {shape.gpus}"
            yield error(one.at("resources"), said, f"add GPU: {shape.gpus}")


def maintenance(case: Case) -> Iterator[Problem]:
    """Machines with cards are ended for maintenance: Google refuses those that are to move."""
    for one in _types(case):
        cards = one.node_config.get("guestAccelerators") or (one.shape and one.shape.gpus)
        if cards and one.scheduling.get("onHostMaintenance") != "TERMINATE":
            said = "machines with cards can't be moved for maintenance, and Google refuses them"
            yield error(one.at("node_config", "scheduling"), said, "add scheduling: {onHostMaintenance: TERMINATE}")


def role(case: Case) -> Iterator[Problem]:
    """Workers have a service account: Ray gives its own to the head only, and workers must reach the bucket."""
    for one in _types(case):
        if not one.head and one.nodes and not mapping(one.node_config).get("serviceAccounts"):
            said = "no serviceAccounts: Ray gives one to the head only, and the bucket needs it"
            yield error(one.at("node_config"), said, "add serviceAccounts: [{email: …, scopes: [cloud-platform's]}]")


def _types(case: Case) -> list[NodeType]:
    return list(case.file.node_types.values()) if case.file.kind == "gcp" else []
