"""Which node types of a cluster file hold the trials of a sweep, with what set-up and at what price."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.clusters.file import ClusterFile
    from orchestrator.planning.devices import Machine
    from orchestrator.planning.fit import Fit
    from trials.sweep.sweep import Sweep
    from trials.trial import Trial


@dataclass(frozen=True)
class Holding:
    """Trials of one backbone that run alike on one node type.

    Args:
        backbone: its name.
        methods: of the trials.
        trials: how many.
        node_type: where the planning sends them, the cheapest that holds them; empty where none does.
        way: their set-up in words; of what holds nothing the one that needs the least.
        packs: at a time on one node, in trials; a fraction where a pack takes several nodes.
        pack_size: trials of a pack, of the largest.
        hours: of a node, in all.
        price: $ an hour of a node, 0 where that isn't known.
        others: node types that hold them too.
        weights: scalars of the backbone that are downloaded, 0 where its weights are made here.
        lacking: why no node type holds them; empty where one does.
    """

    backbone: str
    methods: str
    trials: int
    node_type: str
    way: str
    packs: float
    pack_size: int
    hours: float
    price: float
    others: tuple[str, ...]
    weights: int
    lacking: str = ""

    @property
    def cost(self) -> float:
        """$ in all, 0 where it isn't known."""
        return self.hours * self.price

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**asdict(self), "cost": self.cost or None, "price": self.price or None}


def holdings(file: ClusterFile, sweep: Sweep) -> tuple[Holding, ...]:
    """Where the trials of a sweep would run, all of them to do; none where nothing is known of any machine.

    Args:
        file: the cluster file.
        sweep: enumerated and checked already.

    Raises:
        ApetError: resources that exclude each other.
    """
    from orchestrator.planning.setups import Setups

    machines = file.machines()
    if not machines:
        return ()
    setups = Setups(sweep.trials(), machines, sweep.resources)
    return _joined([_of(some, setups.fits[group], machines, sweep) for group, some in setups.groups.items()])


def _of(trials: Sequence[Trial], found: Fit, machines: Sequence[Machine], sweep: Sweep) -> Holding:
    """Trials that run alike."""
    from orchestrator.planning.candidates import way
    from orchestrator.planning.fit import fit
    from orchestrator.planning.setups import methods
    from orchestrator.planning.times import work
    from trials.backbones import loaded_parameters

    chosen = [] if found.lacking else [one for one in machines if one.node_type == found.setup.node_type]
    seconds, _ = work(trials, found.setup, {}, None, found.card)
    packs = found.at_once / sum(one.count for one in chosen) if chosen else 0.0
    backbone = trials[0].backbone
    return Holding(
        backbone=backbone.name,
        methods=methods(trials),
        trials=len(trials),
        node_type=found.setup.node_type if chosen else "",
        way=way(found.setup),
        packs=packs,
        pack_size=found.setup.pack_size,
        hours=seconds / 3600 / packs if packs else 0.0,
        price=max((one.price for one in chosen), default=0.0),
        others=tuple(
            one.node_type
            for one in machines
            if chosen and one not in chosen and not fit(trials, (one,), sweep.resources, advise=False).lacking
        ),
        weights=0 if backbone.weights.kind == "random" else loaded_parameters(backbone),
        lacking=found.refusal,
    )


def _joined(cells: Sequence[Holding]) -> tuple[Holding, ...]:
    """Cells of one backbone that run alike on the same node type as one, its methods together."""
    groups: dict[object, list[Holding]] = defaultdict(list)
    for one in cells:
        groups[one.backbone, one.node_type, one.way, one.others, one.lacking and one.methods].append(one)
    return tuple(
        replace(
            some[0],
            methods=", ".join(dict.fromkeys(name for one in some for name in one.methods.split(", "))),
            trials=sum(one.trials for one in some),
            packs=min(one.packs for one in some),
            pack_size=max(one.pack_size for one in some),
            hours=sum(one.hours for one in some),
        )
        for some in groups.values()
    )
