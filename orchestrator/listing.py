"""What is built in, as plain rows: sweeps, tasks, backbones and their counts."""

from __future__ import annotations

from typing import Any

from orchestrator import authors
from trials import backbones as table
from trials.errors import ApetError

COUNTED = ("lora", "adapter", "prompt", "bitfit")  # columns of the study's table of counts


def sweeps() -> list[dict[str, Any]]:
    """Every built-in sweep: ``name``, ``about`` (its first comment line) and ``trials``."""
    from trials.sweep.sweep import Sweep, builtin_names, builtin_text

    return [
        {"name": name, "about": about(builtin_text(name)), "trials": len(Sweep.load(name).trials())}
        for name in builtin_names()
    ]


def about(text: str) -> str:
    """The first comment line of a sweep file, empty where there is none."""
    return next((line.lstrip("# ").rstrip() for line in text.splitlines() if line.startswith("#")), "")


def tasks(overlaps: bool = False) -> list[dict[str, Any]]:
    """Every task: what it is, and ``found``, where its data would come from now.

    Args:
        overlaps: also read the data that is here, and count the validation and test rows whose text stands in train:
            a source's own splits stay as they are. None where the data is on the hub, or can't be used.
    """
    from trials import tasks as built_in

    rows = []
    for name in built_in.names():
        task = built_in.get(name)
        rows.append(
            {
                "task": name,
                "category": task.category,
                "metric": task.metric,
                "hub": task.hub_id if task.hub_config is None else f"{task.hub_id} {task.hub_config}",
                "labels": ", ".join(task.labels),
                "found": _data(name),
                **({"overlaps": _overlaps(name)} if overlaps else {}),
            }
        )
    return rows


def backbones() -> list[dict[str, Any]]:
    """Every backbone: family, published ``parameters`` by arithmetic from its shape, and its ``weights``."""
    return [
        {
            "backbone": ref.name,
            "family": ref.family,
            "blocks": ref.shape.blocks + ref.shape.decoder_blocks,
            "d_model": ref.shape.d_model,
            "parameters": table.parameters(ref),
            "weights": _weights(ref.name),
        }
        for ref in table.BACKBONES.values()
    ]


def counts(**sizes: dict[str, int | float]) -> list[dict[str, Any]]:
    """Tunable parameters of the named methods on every backbone, and how many each operation of ``apet`` holds.

    The last column, ``differs``, has the counts of the study's authors that aren't ours, with the reason:
    ``{method: {"authors": count, "why": text}}``; a method of another size isn't compared.

    Args:
        sizes: other than the default ones, by method: ``lora={"rank": 4}``.
    """
    from trials.modules.counts import capacity
    from trials.modules.methods import count_of, named
    from trials.modules.operations import OPERATIONS

    chosen = {name: named(name, **sizes.get(name, {})) for name in COUNTED}
    rows = []
    for ref in table.BACKBONES.values():
        ours = {name: count_of(method, ref) for name, method in chosen.items()}
        theirs = authors.COUNTS.get(ref.name, {})
        differs = {
            name: {"authors": theirs[name], "why": authors.WHY[ref.name, name]}
            for name in ours
            if name in theirs and chosen[name] == named(name) and ours[name] != theirs[name]
        }
        held = {f"{op} holds": scalars for op, scalars in capacity(ref, OPERATIONS).items()}
        rows.append({"backbone": ref.name, **ours, **held, "differs": differs})
    return rows


def _weights(name: str) -> str:
    """Where a backbone's weights would come from now, or why they can't."""
    from trials.sources.locations import find_weights

    try:
        return find_weights(name)[1]
    except ApetError as error:
        return f"missing: {error}"


def _data(name: str) -> str:
    """Where a task's data would come from now, or why it can't."""
    from trials.sources.locations import find_data

    try:
        return find_data(name)[1]
    except ApetError as error:
        return f"unusable: {error}"


def _overlaps(name: str) -> int | None:
    """Validation and test rows of a task whose text also stands in train; None where its rows aren't here."""
    from trials import tasks as built_in
    from trials.sources.locations import find_data
    from trials.trial import TaskRef
    from workers.rows.data import load_rows

    try:
        source, location = find_data(name)
        if source.kind == "hub":
            return None
        return load_rows(built_in.get(name), TaskRef(name, source), location).overlaps
    except ApetError:
        return None
