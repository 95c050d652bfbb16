"""Tiny trials of every family for the workers' tests."""

from __future__ import annotations

from typing import Any

from trials import backbones
from trials.modules.operations import default_sites
from trials.trial import Method, Source, TaskRef, Training, Trial

FAMILIES = ("tiny-bert", "tiny-bloom", "tiny-t5")
OPERATIONS = ("add", "concat", "plug")


def make_method(family: str, name: str = "apet", **sizes: Any) -> Method:
    """A method with its defaults; ``operations`` is a mapping of shares for apet."""
    if name == "apet":
        shares = sizes.pop("operations", dict.fromkeys(OPERATIONS, 1))
        sites = {op: default_sites(family, op) for op in shares}
        sizes = {"operations": shares, "sites": sites, "placement": "discrete", "count": 100, **sizes}
    defaults = {"lora": {"rank": 2, "alpha": 4.0}, "adapter": {"bottleneck": 3}}.get(name, {})
    return Method(name, **{**defaults, **sizes})


def make_trial(backbone: str = "tiny-bert", method: str = "apet", *, trial: Any = None, **sizes: Any) -> Trial:
    """A trial on a tiny backbone; ``trial`` overrides fields of the trial itself."""
    ref = backbones.get(backbone)
    chosen = make_method(ref.family, method, **sizes)
    fields: dict[str, Any] = {
        "backbone": ref,
        "task": TaskRef("rotten_tomatoes", Source("folder", "rotten_tomatoes", "0")),
        "method": chosen,
        "learning_rate": 1e-2,
        "training": Training(steps=4, batch_size=4, eval_every=2),
        "position_seed": 0 if method == "apet" else None,
        "head": "verbalizer" if ref.family == "bert" else None,
    }
    return Trial(**{**fields, **(trial or {})})
