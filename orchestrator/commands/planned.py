"""How a plan is printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.planning.estimate import cores
from orchestrator.planning.plan import TO_DO, BackbonePlan, Plan
from orchestrator.text import as_text, duration, number, size, table

SHOWN = 6  # values of a setting, or counts, before the middle is left out
UNSET = {"eval_every": "at the end only", "early_stop": "never"}  # what null means


def text(plan: Plan, verbose: bool = False) -> str:
    """The whole plan for a person.

    Args:
        plan: what to print.
        verbose: capacities, and every count, trial skipped and setting in full.
    """
    if not plan.trials:
        return "\n".join([f"{plan.sweep}: all {len(plan.skipped)} trials were skipped", *_skipped(plan, verbose)])
    parts = [_head(plan), *_skipped(plan, verbose), "", _methods(plan, verbose), "", _costs(plan)]
    parts += ["", *_notes(plan), "", "settings, defaults included", *_settings(plan.settings, verbose)]
    return "\n".join(parts)


def _head(plan: Plan) -> str:
    states = ", ".join(
        f"{as_text(n)} {state}" for state, n in sorted(plan.states.items(), key=lambda item: item[0] == TO_DO)
    )
    again = f"; {plan.duplicates} more are the same as others and run once" if plan.duplicates else ""
    return f"{plan.sweep}: {number(plan.trials, 'trial')}: {states}{again}"


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
        f"{one.backbone} {method.method}": ", ".join(f"{op} {as_text(n)}" for op, n in method.capacity.items())
        for one in plan.backbones
        for method in one.methods
        if method.capacity
    }
    return "\n".join([text, *(f"capacity of {what}: {parts}" for what, parts in held.items())])


def _costs(plan: Plan) -> str:
    states = [state for state in ("completed", "diverged", "failed", TO_DO) if state in plan.states]
    columns = ["backbone", "parameters", "trials", *states, "pack", "GPUs", "ZeRO", "offload", "memory each", "time"]
    return table(columns, [_cost(one, states) for one in plan.backbones])


def _cost(one: BackbonePlan, states: Sequence[str]) -> list[object]:
    return [
        one.backbone,
        one.parameters,
        one.trials,
        *(one.states.get(state, 0) for state in states),
        one.pack_size,
        one.gpus,
        one.zero_stage if one.gpus else None,
        one.offload if one.gpus else None,
        f"{size(one.bytes_per_device)}{'' if one.fits else ' (does not fit)'}",
        _time([one]),
    ]


def _time(some: Sequence[BackbonePlan]) -> str:
    """Time on this machine's CPU, and hours of GPUs."""
    parts = []
    if on_cpu := [one.worker_s for one in some if not one.gpus]:
        parts.append(duration(sum(on_cpu)))
    if on_gpu := [one.gpu_hours for one in some if one.gpus]:
        parts.append(f"{sum(on_gpu):.3g} GPU-hours")
    return " and ".join(parts)


def _notes(plan: Plan) -> list[str]:
    lines = []
    devices: dict[tuple[bool, int], list[str]] = {}
    bases: dict[str, list[str]] = {}
    for one in plan.backbones:
        devices.setdefault((one.gpus > 0, one.device_bytes), []).append(one.backbone)
        bases.setdefault(one.basis, []).append(one.backbone)
    for (on_gpu, held), names in devices.items():
        where = f"GPUs of {size(held)}" if on_gpu else f"this machine's CPU, memory {size(held)}"
        lines.append(f"planned for {where}: {', '.join(names)}")
    if beyond := [f"{one.backbone} {one.largest}" for one in plan.backbones if one.beyond]:
        lines.append(f"more than this release trains, which is a pack on one GPU or on the CPU: {', '.join(beyond)}")
    lines.append("memory: by arithmetic, of the pack that needs the most; on a CPU with its process, on a GPU without")
    on = [f"all cores of this machine ({cores()})"] if any(not one.gpus for one in plan.backbones) else []
    on += ["GPUs"] if any(one.gpus for one in plan.backbones) else []
    lines.append(f"time for what is to do, on {' and '.join(on)}: {_time(plan.backbones)}")
    lines += [f"  {', '.join(names)}: {basis}" for basis, names in bases.items()]
    lines += [f"warning: {one}" for one in plan.warnings]
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
    texts = [f"{value:g}" if isinstance(value, float) else as_text(value) for value in values]
    if verbose or len(texts) <= SHOWN:
        return "  ".join(texts)
    return "  ".join([*texts[:3], "…", *texts[-2:], f"({len(texts)})"])
