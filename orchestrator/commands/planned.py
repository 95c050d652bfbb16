"""How a plan is printed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.plan import TO_DO, BackbonePlan, Plan
from orchestrator.tables import cell, duration, size, table

SHOWN = 6  # values of a setting, or counts, before the middle is left out
UNSET = {"eval_every": "at the end only", "early_stop": "never"}  # what null means


def text(plan: Plan, verbose: bool = False) -> str:
    """The whole plan for a person.

    Args:
        plan: what to print.
        verbose: capacities, and every count, trial skipped and setting in full.
    """
    parts = [_head(plan), *_skipped(plan, verbose), "", _methods(plan, verbose), "", _costs(plan)]
    parts += ["", *_notes(plan), "", "settings, defaults included", *_settings(plan.settings, verbose)]
    return "\n".join(parts)


def _head(plan: Plan) -> str:
    states = ", ".join(
        f"{cell(n)} {state}" for state, n in sorted(plan.states.items(), key=lambda item: item[0] == TO_DO)
    )
    again = f"; {plan.duplicates} more are the same as others and run once" if plan.duplicates else ""
    return f"{plan.sweep}: {cell(plan.trials)} trials: {states}{again}"


def _skipped(plan: Plan, verbose: bool) -> list[str]:
    shown = plan.skipped if verbose else plan.skipped[:3]
    lines = [f"skipped {what}: {why}" for what, why in shown]
    more = len(plan.skipped) - len(shown)
    return [*lines, f"… and {more} more skipped; -v lists them"] if more else lines


def _methods(plan: Plan, verbose: bool) -> str:
    rows = [
        [
            one.backbone,
            method.method,
            method.trials,
            _some(method.counts, verbose),
            sum(method.capacity.values()) or None,
        ]
        for one in plan.backbones
        for method in one.methods
    ]
    text = table(["backbone", "method", "trials", "tunable parameters", "capacity"], rows)
    if not verbose:
        return text
    held = {
        f"{one.backbone} {method.method}": ", ".join(f"{op} {cell(n)}" for op, n in method.capacity.items())
        for one in plan.backbones
        for method in one.methods
        if method.capacity
    }
    return "\n".join([text, *(f"capacity of {what}: {parts}" for what, parts in held.items())])


def _costs(plan: Plan) -> str:
    device = "memory per GPU" if plan.card else "memory"
    columns = ["backbone", "parameters", "trials", *_states(plan), "GPUs", "ZeRO", "offload", device, "pack", "time"]
    return table(columns, [_cost(one, plan) for one in plan.backbones])


def _states(plan: Plan) -> list[str]:
    return [state for state in ("completed", "diverged", "failed", TO_DO) if state in plan.states]


def _cost(one: BackbonePlan, plan: Plan) -> list[object]:
    return [
        one.backbone,
        one.parameters,
        one.trials,
        *(one.states.get(state, 0) for state in _states(plan)),
        one.gpus,
        one.zero_stage if plan.card else None,
        one.offload if plan.card else None,
        f"{size(one.bytes_per_device)}{'' if one.fits else ' (does not fit)'}",
        one.pack_size,
        f"{one.gpu_hours:.3g} GPU-hours" if plan.card else duration(one.worker_s),
    ]


def _notes(plan: Plan) -> list[str]:
    where = (
        f"cards of {size(plan.card)}" if plan.card else "this machine's CPU, trials one after the other on all cores"
    )
    lines = [f"planned for {where}; memory is an upper estimate, of the largest pack of each backbone"]
    if plan.card:
        hours = sum(one.gpu_hours for one in plan.backbones)
        total = f"{hours:.3g} GPU-hours"
    else:
        total = duration(sum(one.worker_s for one in plan.backbones))
    bases: dict[str, list[str]] = {}
    for one in plan.backbones:
        bases.setdefault(one.basis, []).append(one.backbone)
    lines.append(f"time for what is to do: {total} in all")
    lines += [f"  {', '.join(names)}: {basis}" for basis, names in bases.items()]
    if left := {state: n for state, n in plan.states.items() if state in ("failed", "diverged")}:
        alone = ", ".join(f"{n} {state}" for state, n in left.items())
        lines.append(f"{alone}: left alone by `apet run`; `apet resubmit` makes new attempts at failed ones")
    return lines


def _settings(found: Mapping[str, list[Any]], verbose: bool) -> list[str]:
    lines = []
    for name, values in found.items():
        given = [value for value in values if value is not None]
        if given or name in UNSET:
            lines.append(f"  {name}: {_some(given, verbose) if given else UNSET[name]}")
    return lines


def _some(values: Any, verbose: bool) -> str:
    texts = [f"{value:g}" if isinstance(value, float) else cell(value) for value in values]
    if verbose or len(texts) <= SHOWN:
        return "  ".join(texts)
    return "  ".join([*texts[:3], "…", *texts[-2:], f"({len(texts)})"])
