"""What a sweep holds, what of it a store lacks, whether it fits and what it costs: ``apet plan``, no weights loaded."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.planning.estimate import Fit, Need
    from orchestrator.planning.times import Pace
    from trials.store.store import Store
    from trials.sweep.sweep import Resources, Sweep
    from trials.trial import BackboneRef, Method, Trial

TO_DO = "to do"


@dataclass(frozen=True)
class MethodPlan:
    """The trials of one method on one backbone.

    Args:
        method: its name and sizes, as text.
        trials: how many.
        counts: tunable parameters, each once, ascending; for ``full`` all that a worker loads.
        capacity: scalars that each operation can hold, ``apet`` only.
    """

    method: str
    trials: int
    counts: tuple[int, ...]
    capacity: Mapping[str, int]


@dataclass(frozen=True)
class BackbonePlan:
    """The trials of one backbone.

    Args:
        backbone: name.
        family: bert, bloom or t5.
        parameters: of the published model, as a row's ``backbone_parameters``.
        trials: how many.
        states: how many of them are completed, diverged and failed in the store, and how many are to do.
        methods: one entry each.
        largest: the method whose pack needs the most memory.
        gpus: cards of one such pack; 0 on the CPU.
        zero_stage: DeepSpeed's stage.
        offload: weights and moments in the machine's memory.
        beyond: whether that, or what the sweep's resources ask for, is more than this release trains.
        bytes_per_device: memory of each card, or on the CPU of each worker's process: an upper estimate.
        device_bytes: memory of the card or machine that is planned for.
        fits: whether 90 % of that is enough.
        pack_size: trials trained together.
        worker_s: seconds for what is to do, on one gang of ``gpus`` cards, or on all cores of this machine.
        basis: where that number comes from.
    """

    backbone: str
    family: str
    parameters: int
    trials: int
    states: Mapping[str, int]
    methods: tuple[MethodPlan, ...]
    largest: str
    gpus: int
    zero_stage: int
    offload: bool
    beyond: bool
    bytes_per_device: int
    device_bytes: int
    fits: bool
    pack_size: int
    worker_s: float
    basis: str

    @property
    def gpu_hours(self) -> float:
        """Hours of one GPU for what is to do; 0 on the CPU."""
        return self.worker_s * self.gpus / 3600


@dataclass(frozen=True)
class Plan:
    """All of a sweep.

    Args:
        sweep: its name.
        trials: how many, each once.
        duplicates: trials that another block gives too, counted once.
        skipped: what was left out and why (``over_capacity: skip``).
        backbones: one entry each, in the order of the sweep.
        settings: what the trials share, defaults resolved.
        warnings: what may end trials that begin.
    """

    sweep: str
    trials: int
    duplicates: int
    skipped: tuple[tuple[str, str], ...]
    backbones: tuple[BackbonePlan, ...]
    settings: Mapping[str, Any]
    warnings: tuple[str, ...]

    @property
    def states(self) -> dict[str, int]:
        """How many trials of all backbones are in each state, with ``to do``."""
        total: Counter[str] = Counter()
        for one in self.backbones:
            total.update(one.states)
        return dict(total)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        hours = {one.backbone: one.gpu_hours for one in self.backbones}
        plain = {**asdict(self), "states": self.states}
        plain["backbones"] = [{**one, "gpu_hours": hours[one["backbone"]]} for one in plain["backbones"]]
        return plain


def plan(sweep: Sweep, store: Store | None = None) -> Plan:
    """Plan a sweep.

    Args:
        sweep: enumerated and checked already, so every count fits its capacity.
        store: what is there counts as done; None: everything is to do.
    """
    from orchestrator.planning.settings import settings, too_long
    from orchestrator.planning.times import measured

    every = sweep.trials()
    states = states_of(every, store)
    known = measured(store)
    grouped: dict[BackboneRef, list[Trial]] = defaultdict(list)
    for trial in every:
        grouped[trial.backbone].append(trial)
    return Plan(
        sweep=sweep.name,
        trials=len(every),
        duplicates=sweep.duplicates,
        skipped=tuple(sweep.skipped),
        backbones=tuple(_backbone(group, sweep.resources, states, known) for group in grouped.values()),
        settings=settings(every),
        warnings=tuple(dict.fromkeys(too_long(every))),
    )


def states_of(every: Sequence[Trial], store: Store | None) -> dict[str, str]:
    """The state of each trial that the store has a row of, by trial id."""
    if store is None:
        return {}
    visible = store.visible()
    return {t.trial_id: visible[t.trial_id][0] for t in every if t.trial_id in visible}


def _backbone(
    trials: Sequence[Trial], wanted: Resources, states: Mapping[str, str], known: Mapping[Hashable, Pace]
) -> BackbonePlan:
    from orchestrator.planning.packing import PACK_SIZE
    from orchestrator.planning.times import total
    from trials import limits
    from trials.backbones import loaded_parameters, parameters

    ref = trials[0].backbone
    loaded = loaded_parameters(ref)
    groups = by_method(trials)
    pack_size = wanted.pack_size if isinstance(wanted.pack_size, int) else PACK_SIZE
    largest, fit, device_bytes = _place(groups, loaded, pack_size, wanted)
    count = Counter(states.get(t.trial_id, TO_DO) for t in trials) if states else Counter({TO_DO: len(trials)})
    left = [t for t in trials if t.trial_id not in states] if states else trials
    seconds, basis = total(left, fit.gpus, known, pack_size)
    return BackbonePlan(
        backbone=ref.name,
        family=ref.family,
        parameters=parameters(ref),
        trials=len(trials),
        states=dict(count),
        methods=tuple(_method(label, group, ref, loaded) for label, group in groups.items()),
        largest=largest,
        gpus=fit.gpus,
        zero_stage=fit.zero_stage,
        offload=fit.offload,
        beyond=any(limits.beyond(one.gpus, one.zero_stage, one.offload) for one in (fit, wanted)),
        bytes_per_device=fit.bytes_per_gpu,
        device_bytes=device_bytes,
        fits=fit.fits,
        pack_size=pack_size,
        worker_s=seconds,
        basis=basis,
    )


def _place(
    groups: Mapping[str, Sequence[Trial]], loaded: int, pack_size: int, wanted: Resources
) -> tuple[str, Fit, int]:
    """The method that needs the most memory, how its packs fit, and the memory of the device planned for.

    The device is this machine's GPU, or its CPU where there is none; an assumed card where GPUs are asked for, or
    where the CPU's memory is too small.
    """
    from orchestrator.planning import estimate

    def largest(on_gpu: bool) -> tuple[str, Need]:
        needs = []
        for label, group in groups.items():
            most = max(counted(t.method, t.backbone, loaded) for t in group)
            together = 1 if group[0].method.name == "full" else pack_size
            for one in {t.training: t for t in group}.values():  # tasks differ in length
                size = number_bytes(one.training.precision, on_gpu)
                needed = estimate.need(one, loaded, most, together, size, _given(wanted.micro_batch))
                needs.append((label, needed))
        return max(needs, key=lambda item: item[1].total)

    asked = wanted.gpus not in ("auto", 0) or wanted.zero_stage not in ("auto", 0)
    card = None if wanted.gpus == 0 else estimate.card_bytes()
    if card is None and not asked:
        label, needed = largest(on_gpu=False)
        here = estimate.machine_bytes()
        held = needed.total + estimate.PROCESS_BYTES
        fits = held <= here * estimate.USABLE
        if wanted.gpus == 0 or fits:
            return label, estimate.Fit(0, 0, False, held, fits), here
    label, needed = largest(on_gpu=True)
    card = card or estimate.CARD_BYTES
    fit = estimate.fit(needed, _given(wanted.gpus), _given(wanted.zero_stage), _given(wanted.offload), card)
    return label, fit, card


def _method(label: str, trials: Sequence[Trial], ref: BackboneRef, loaded: int) -> MethodPlan:
    from trials.modules.counts import capacity

    first = trials[0].method
    return MethodPlan(
        method=label,
        trials=len(trials),
        counts=tuple(sorted({counted(t.method, ref, loaded) for t in trials})),
        capacity=capacity(ref, first.operations, first.sites, first.tokens) if first.operations else {},
    )


def by_method(trials: Iterable[Trial]) -> dict[str, list[Trial]]:
    """Trials grouped by their method without the count, in order of appearance."""
    groups: dict[str, list[Trial]] = defaultdict(list)
    for trial in trials:
        groups[describe(trial.method, trial.backbone.family)].append(trial)
    return groups


def describe(method: Method, family: str) -> str:
    """A method with its sizes, without its count: ``lora rank 8``, ``apet add:1 concat:1 discrete``."""
    words = [method.name]
    words += [f"{op}:{share}" for op, share in (method.operations or {}).items()]
    chosen = (method.sites or {}).items()
    words += [f"{op} at {'+'.join(kinds)}" for op, kinds in chosen if tuple(kinds) != _defaults(family, op)]
    words += [f"{name} {value:g}" for name, value in method.sizes.items()]
    return " ".join([*words, method.placement] if method.placement else words)


@cache
def _defaults(family: str, op: str) -> tuple[str, ...]:
    from trials.modules.operations import default_sites

    return default_sites(family, op)


def counted(method: Method, ref: BackboneRef, loaded: int) -> int:
    """Tunable parameters of a method; ``full`` trains all that a worker has ``loaded``."""
    from trials.modules.methods import count_of

    count = method.count if method.count is not None else count_of(method, ref)
    return loaded if count is None else count


def number_bytes(precision: str, on_gpu: bool) -> int:
    """Bytes of a weight: 2 in bf16, which ``auto`` takes on a GPU; 4 in fp32."""
    return 2 if precision == "bf16" or (precision == "auto" and on_gpu) else 4


def _given(value: Any) -> Any:
    return None if value == "auto" else value
