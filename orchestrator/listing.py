"""What is built in, as plain rows: sweeps, tasks, backbones and their counts."""

from __future__ import annotations

from typing import Any

from trials import backbones as table
from trials.errors import ApetError

COUNTED = ("lora", "adapter", "prompt", "bitfit")  # columns of the study's table of counts


def sweeps() -> list[dict[str, Any]]:
    """Every built-in sweep: ``name``, ``about`` (its first comment line) and ``trials``."""
    from trials.sweep import Sweep, builtin_names, builtin_text

    return [
        {"name": name, "about": about(builtin_text(name)), "trials": len(Sweep.load(name).trials())}
        for name in builtin_names()
    ]


def about(text: str) -> str:
    """The first comment line of a sweep file, empty where there is none."""
    return next((line.lstrip("# ").rstrip() for line in text.splitlines() if line.startswith("#")), "")


def tasks() -> list[dict[str, Any]]:
    """Every task: what it is, and ``found``, where its data would come from now."""
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

    Args:
        sizes: other than the default ones, by method: ``lora={"rank": 4}``.
    """
    from trials.counts import capacity
    from trials.methods import count_of, named
    from trials.operations import OPERATIONS

    chosen = {name: named(name, **sizes.get(name, {})) for name in COUNTED}
    return [
        {
            "backbone": ref.name,
            **{name: count_of(method, ref) for name, method in chosen.items()},
            **{f"{op} holds": held for op, held in capacity(ref, OPERATIONS).items()},
        }
        for ref in table.BACKBONES.values()
    ]


def _weights(name: str) -> str:
    """Where a backbone's weights would come from now, or why they can't."""
    from trials.sources import find_weights

    try:
        return find_weights(name)[1]
    except ApetError as error:
        return f"missing: {error}"


def _data(name: str) -> str:
    """Where a task's data would come from now, or why it can't."""
    from trials.sources import find_data

    try:
        return find_data(name)[1]
    except ApetError as error:
        return f"unusable: {error}"
