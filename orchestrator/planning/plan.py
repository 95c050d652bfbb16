"""What a sweep holds, what of it a store lacks, whether it fits and what it costs: ``apet plan``, no weights loaded."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.planning.devices import Machine
    from orchestrator.planning.fit import Fit
    from orchestrator.planning.setups import Setups
    from orchestrator.planning.times import Paces
    from trials.setup import Setup
    from trials.store.store import Store
    from trials.sweep.sweep import Sweep
    from trials.trial import BackboneRef, Trial

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
class GroupPlan:
    """The trials of one backbone that run alike.

    Args:
        methods: of theirs; several where they share packs.
        tasks: of theirs.
        trials: how many.
        setup: of their packs, the one that ``apet run`` takes on the same machine.
        pack_size_source: where its pack size comes from: ``resources``, ``full`` (which is alone), a measurement in the
            ``store`` or in this machine's ``cache``, or the ``model`` of memory.
        bytes_per_device: memory of each card, or on the CPU of each worker's process: an upper estimate, of the largest
            pack that a worker may measure.
        device_bytes: memory of the card or machine that is planned for.
        fits: whether 90 % of that is enough.
        at_once: packs at a time; 0 where the machine can't hold one.
        assumed: whether an assumed machine is planned for, since this one can't hold a pack.
        why: this set-up and no other, in words, the pack's size aside.
        refusal: why ``apet run`` refuses them here; empty where it doesn't.
        to_do: how many the store lacks.
        work_s: seconds of one worker for those.
        basis: where that number comes from.
        price: dollars an hour of the part of a machine that a pack takes; 0 where that isn't known.
    """

    methods: str
    tasks: tuple[str, ...]
    trials: int
    setup: Setup
    pack_size_source: str
    bytes_per_device: int
    device_bytes: int
    fits: bool
    at_once: int
    assumed: bool
    why: str
    refusal: str
    to_do: int
    work_s: float
    basis: str
    price: float = 0.0

    @property
    def dollars(self) -> float:
        """What is to do costs about so much; 0 where no price is known."""
        return self.price * self.work_s / 3600


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
        groups: trials that run alike.
    """

    backbone: str
    family: str
    parameters: int
    trials: int
    states: Mapping[str, int]
    methods: tuple[MethodPlan, ...]
    groups: tuple[GroupPlan, ...]

    @property
    def cpu_s(self) -> float:
        """Seconds for what is to do on CPUs, as many workers at a time as there is room and work for."""
        from orchestrator.planning.times import START_S

        on_cpu = [one for one in self.groups if not one.setup.gpus and one.to_do]
        trials = sum(one.to_do for one in on_cpu)  # packs are split before a worker is left without one
        seconds = sum(one.work_s / max(1, min(one.at_once, trials)) for one in on_cpu)
        return START_S + seconds if on_cpu else 0.0

    @property
    def gpu_hours(self) -> float:
        """Hours of one GPU for what is to do."""
        return sum(one.work_s * one.setup.gpus for one in self.groups) / 3600

    @property
    def dollars(self) -> float:
        """What is to do costs about so much; what has no price counts as nothing."""
        return sum(one.dollars for one in self.groups)

    @property
    def node_types(self) -> tuple[str, ...]:
        """Where packs go; none where they go wherever there is room."""
        return tuple(dict.fromkeys(one.setup.node_type for one in self.groups if one.setup.node_type))


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
        warnings: what may end trials that begin, or change what they start from, and files that are ignored.
        refused: groups that ``apet run`` refuses on these machines, each with the reason.
        machines: what is planned for, in words.
        claims: what its thresholds will rest on, in sentences.
    """

    sweep: str
    trials: int
    duplicates: int
    skipped: tuple[tuple[str, str], ...]
    backbones: tuple[BackbonePlan, ...]
    settings: Mapping[str, Any]
    warnings: tuple[str, ...]
    refused: tuple[str, ...]
    machines: str
    claims: tuple[str, ...] = ()

    @property
    def states(self) -> dict[str, int]:
        """How many trials of all backbones are in each state, with ``to do``."""
        total: Counter[str] = Counter()
        for one in self.backbones:
            total.update(one.states)
        return dict(total)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        names = ("cpu_s", "gpu_hours", "dollars", "node_types")
        times = {one.backbone: {name: getattr(one, name) for name in names} for one in self.backbones}
        plain = {**asdict(self), "states": self.states}
        plain["backbones"] = [{**one, **times[one["backbone"]]} for one in plain["backbones"]]
        return plain


def plan(sweep: Sweep, store: Store | None = None, machines: Sequence[Machine] | None = None) -> Plan:
    """Plan a sweep.

    Args:
        sweep: enumerated and checked already, so every count fits its capacity.
        store: what is there counts as done; None: everything is to do.
        machines: what it may run on; None: this one.

    Raises:
        ApetError: resources that exclude each other.
    """
    from orchestrator.planning.claims import claims
    from orchestrator.planning.devices import here
    from orchestrator.planning.fit import names
    from orchestrator.planning.settings import model_folders, settings, too_long, unpinned
    from orchestrator.planning.setups import Setups
    from orchestrator.planning.times import measured
    from trials.store.calibration import Calibrations

    every, machines = sweep.trials(), machines or (here(),)
    calibrations = Calibrations() if store is None else store.calibrations()
    setups = Setups(every, machines, sweep.resources, calibrations)
    states = states_of(every, store)
    known = measured(store)
    backbones: dict[BackboneRef, list[Trial]] = defaultdict(list)
    for trial in every:
        backbones[trial.backbone].append(trial)
    locations = {ref: sweep.sources(some[0]).weights for ref, some in backbones.items()}
    return Plan(
        sweep=sweep.name,
        trials=len(every),
        duplicates=sweep.duplicates,
        skipped=tuple(sweep.skipped),
        backbones=tuple(_backbone(ref, some, setups, states, known) for ref, some in backbones.items()),
        settings=settings(every),
        warnings=tuple(dict.fromkeys([*model_folders(locations), *too_long(every), *unpinned(every)])),
        refused=tuple(setups.refusals()),
        machines=names(machines),
        claims=claims(every),
    )


def states_of(every: Sequence[Trial], store: Store | None) -> dict[str, str]:
    """The state of each trial that the store has a row of, by trial id."""
    if store is None:
        return {}
    visible = store.visible()
    return {t.trial_id: visible[t.trial_id][0] for t in every if t.trial_id in visible}


def _backbone(
    ref: BackboneRef,
    trials: Sequence[Trial],
    setups: Setups,
    states: Mapping[str, str],
    known: Paces,
) -> BackbonePlan:
    from orchestrator.planning.groups import by_method
    from trials.backbones import loaded_parameters, parameters

    loaded = loaded_parameters(ref)
    count = Counter(states.get(t.trial_id, TO_DO) for t in trials) if states else Counter({TO_DO: len(trials)})
    return BackbonePlan(
        backbone=ref.name,
        family=ref.family,
        parameters=parameters(ref),
        trials=len(trials),
        states=dict(count),
        methods=tuple(_method(label, group, ref, loaded) for label, group in by_method(trials).items()),
        groups=tuple(
            _group(some, setups.fits[group], states, known)
            for group, some in setups.groups.items()
            if group.kind.backbone == ref
        ),
    )


def _group(trials: Sequence[Trial], found: Fit, states: Mapping[str, str], known: Paces) -> GroupPlan:
    from orchestrator.planning.setups import methods
    from orchestrator.planning.times import work

    left = [t for t in trials if t.trial_id not in states] if states else trials
    seconds, basis = work(left, found.setup, known, found.measured, found.card)
    return GroupPlan(
        methods=methods(trials),
        tasks=tuple(dict.fromkeys(t.task.name for t in trials)),
        trials=len(trials),
        setup=found.setup,
        pack_size_source=found.pack_source,
        bytes_per_device=found.needed,
        device_bytes=found.device_bytes,
        fits=found.fits,
        at_once=found.at_once,
        assumed=found.assumed,
        why=found.why,
        refusal=found.refusal,
        to_do=len(left),
        work_s=seconds,
        basis=basis,
        price=found.price,
    )


def _method(label: str, trials: Sequence[Trial], ref: BackboneRef, loaded: int) -> MethodPlan:
    from orchestrator.planning.groups import counted
    from trials.modules.counts import capacity

    first = trials[0].method
    return MethodPlan(
        method=label,
        trials=len(trials),
        counts=tuple(sorted({counted(t.method, ref, loaded) for t in trials})),
        capacity=capacity(ref, first.operations, first.sites, first.tokens) if first.operations else {},
    )
