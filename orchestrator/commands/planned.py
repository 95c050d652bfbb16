"""How a plan is printed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.planning.devices import ASSUMED
from orchestrator.planning.fit import described
from orchestrator.planning.plan import TO_DO, BackbonePlan, GroupPlan, Plan
from orchestrator.planning.sizes import said
from orchestrator.text import as_text, dollars, duration, number, size, table

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
    parts = [_head(plan), *_skipped(plan, verbose), "", _methods(plan, verbose), "", _costs(plan), "", _setups(plan)]
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
    typed, priced = any(one.node_types for one in plan.backbones), any(one.dollars for one in plan.backbones)
    rows = [
        [one.backbone, one.parameters, one.trials, *(one.states.get(state, 0) for state in states), _time([one])]
        + [", ".join(one.node_types) or None] * typed
        + [dollars(one.dollars) if one.dollars else None] * priced
        for one in plan.backbones
    ]
    columns = ["backbone", "parameters", "trials", *states, "time"] + ["node type"] * typed + ["price"] * priced
    return table(columns, rows)


def _setups(plan: Plan) -> str:
    """How packs run: a line for every set-up of a backbone, with the memory of the group that needs the most."""
    columns = [
        "backbone",
        "trials of",
        "trials",
        "GPUs",
        "ranks",
        "ZeRO",
        "offload",
        "recompute",
        "pack",
        "rows at once",
    ]
    columns += ["memory each", "machine's memory", "at a time"]
    rows = []
    for one in plan.backbones:
        found = sorted(_alike(one), key=len)  # stable; the one with the most groups is last
        rows += [_setup(one, groups, _names(groups)) for groups in found[:-1]]
        rows.append(_setup(one, found[-1], "all others" if found[:-1] else "all"))
    return table(columns, rows)


def _alike(one: BackbonePlan) -> list[list[GroupPlan]]:
    """The groups of a backbone by their set-up, whatever memory they take."""
    found: dict[object, list[GroupPlan]] = {}
    for group in one.groups:
        how = replace(group.setup, memory=0, measure_to=0, reason="")
        found.setdefault((how, group.pack_size_source, group.fits, group.assumed), []).append(group)
    return list(found.values())


def _setup(one: BackbonePlan, groups: Sequence[GroupPlan], which: str) -> list[object]:
    largest = max(groups, key=lambda group: group.bytes_per_device)
    setup = largest.setup
    on_gpu = setup.gpus > 0
    held = f"{size(largest.bytes_per_device)}{'' if largest.fits else ' (does not fit)'}"
    return [
        one.backbone,
        which,
        sum(group.trials for group in groups),
        setup.gpus,
        f"{setup.ranks} on {setup.machines} machines" if setup.machines > 1 else setup.ranks,
        setup.zero_stage,
        setup.offload if on_gpu else None,
        setup.recompute,
        f"{setup.pack_size} ({source})" if (source := said(largest.pack_size_source)) else setup.pack_size,
        setup.micro_batch or "all",
        held,
        size(setup.memory * setup.ranks // setup.machines) if on_gpu else None,
        min(group.at_once for group in groups),
    ]


def _names(groups: Sequence[GroupPlan]) -> str:
    """Methods with their tasks, methods of the same tasks together."""
    by_method: dict[str, dict[str, None]] = {}
    for group in groups:
        by_method.setdefault(group.methods, {}).update(dict.fromkeys(group.tasks))
    by_tasks: dict[tuple[str, ...], list[str]] = {}
    for method, tasks in by_method.items():
        by_tasks.setdefault(tuple(tasks), []).append(method)
    return "; ".join(f"{', '.join(names)} on {', '.join(tasks)}" for tasks, names in by_tasks.items())


def _time(some: Sequence[BackbonePlan]) -> str:
    """Time on CPUs, and hours of GPUs."""
    parts = []
    if on_cpu := sum(one.cpu_s for one in some):
        parts.append(duration(on_cpu))
    if on_gpu := sum(one.gpu_hours for one in some):
        parts.append(f"{as_text(round(on_gpu)) if on_gpu >= 100 else f'{on_gpu:.3g}'} GPU-hours")
    return " and ".join(parts) or "-"


def _notes(plan: Plan) -> list[str]:
    groups = [group for one in plan.backbones for group in one.groups]
    lines = [f"planned for {plan.machines}"]
    if assumed := [group for group in groups if group.assumed]:
        lines.append(
            f"which can't hold {'all of it' if len(assumed) < len(groups) else 'it'}; what takes GPUs is planned for "
            f"{described(ASSUMED)}"
        )
    lines += [f"refused by `apet run`: {one}" for one in plan.refused]
    lines += _reasons(plan)
    lines.append(
        "memory: by arithmetic, an upper estimate; on a CPU with the process; of full fine-tuning with all copies; of "
        "packs that aren't measured, of the largest that a worker may try"
    )
    bill = sum(one.dollars for one in plan.backbones)
    price = f", about {dollars(bill)} without idle machines" if bill else ""
    lines.append(f"time for what is to do: {_time(plan.backbones)}{price}")
    bases: dict[str, dict[str, None]] = {}
    for one in plan.backbones:
        for group in one.groups:
            bases.setdefault(group.basis, {})[one.backbone] = None
    lines += [f"  {', '.join(names)}: {basis}" for basis, names in bases.items()]
    lines += [f"thresholds: {one}" for one in plan.claims]
    lines += [f"warning: {one}" for one in plan.warnings]
    if left := {state: n for state, n in plan.states.items() if state in ("failed", "diverged")}:
        alone = ", ".join(f"{n} {state}" for state, n in left.items())
        lines.append(f"{alone}: left alone by `apet run`; `apet resubmit` makes new attempts at failed ones")
    return lines


def _reasons(plan: Plan) -> list[str]:
    """Why packs run as they do, each reason once, with the backbones, or the methods, of which it is true."""
    of: dict[str, list[str]] = {}
    for one in plan.backbones:
        reasons: dict[str, list[GroupPlan]] = {}
        for group in one.groups:
            if group.at_once or group.assumed:
                reasons.setdefault(group.why, []).append(group)
        ways = Counter(name for groups in reasons.values() for name in {group.methods for group in groups})
        for reason, groups in reasons.items():
            several = any(ways[group.methods] > 1 for group in groups)  # it depends on the task
            which = f" ({_names(groups) if several else _methods_of(groups)})" if len(groups) < len(one.groups) else ""
            of.setdefault(reason, []).append(f"{one.backbone}{which}")
    return [
        "why these set-ups, the cheapest that fit:",
        *(f"  {', '.join(names)}: {reason}" for reason, names in of.items()),
    ]


def _methods_of(groups: Sequence[GroupPlan]) -> str:
    return ", ".join(dict.fromkeys(group.methods for group in groups))


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
