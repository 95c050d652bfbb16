"""Whether the sweep has where to run."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.clusters.document import mapping
from orchestrator.clusters.finding import Case, Problem, error, warning
from orchestrator.text import GIB, size

BESIDE = 20 * GIB  # of a disk: the system, packages with CUDA's libraries, logs
A_WEIGHT = 6  # bytes on a disk: of float32 as the hub has it, and of a copy in bf16


def holds(case: Case) -> Iterator[Problem]:
    """Every backbone of the sweep fits on a node type."""
    for one in case.holdings:
        if not one.node_type:
            said = f"{one.backbone} {one.methods} fits on no node type: {one.lacking}"
            yield error(("available_node_types",), said, "add a node type that holds it, or leave these trials out")


def known(case: Case) -> Iterator[Problem]:
    """The file says, or its instance types do, what machines have."""
    if case.sweep is not None and not case.file.machines():
        said = f"what the machines have isn't known here, so that nobody can say whether {case.sweep} fits"
        yield warning(("provider",), said, "`apet plan SWEEP --gpu CARD --gpus N` says what fits on which machine")


def disk(case: Case) -> Iterator[Problem]:
    """The weights that a node downloads fit on its disk."""
    for node in case.file.node_types.values():
        weights = {one.backbone: one.weights for one in case.holdings if node.name in (one.node_type, *one.others)}
        needed = BESIDE + A_WEIGHT * sum(weights.values())
        mappings = node.node_config.get("BlockDeviceMappings")
        alone = mappings if isinstance(mappings, list) and len(mappings) == 1 else []  # of several, who knows which
        for index, found in enumerate(alone):
            there = mapping(mapping(found).get("Ebs")).get("VolumeSize")
            if weights and isinstance(there, int) and there * GIB < needed:
                said = f"{', '.join(weights)} take {size(needed)} with packages, its disk {there} GiB"
                path = node.at("node_config", "BlockDeviceMappings", index, "Ebs", "VolumeSize")
                yield warning(path, said, f"set VolumeSize: {-(-needed // GIB)}")
