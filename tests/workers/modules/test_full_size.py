"""The largest backbones of the study at full size, on the meta device: modules are put on, and a pass goes through.

Nothing is loaded: there are shapes and no numbers. Counts are those of the study's Table 2, written out.
"""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from trials import backbones
from trials.modules.methods import apet, count_of, named
from trials.modules.operations import OPERATIONS
from trials.modules.positions import layout
from trials.modules.sites import sites
from trials.trial import Source, TaskRef, Training, Trial
from workers.backbone import weights
from workers.backbone.load import find_module
from workers.modules.modules import Modules

TABLE_2 = {  # of T5, BitFit's follows docs/modules.md
    "bloom-7b1": {"lora": 3_932_160, "adapter": 12_043_680, "prompt": 409_600, "bitfit": 1_359_872},
    "t5-xxl": {"lora": 6_291_456, "adapter": 19_269_888, "prompt": 409_600, "bitfit": 2_859_008},
}
PARAMETERS = {"bloom-7b1": 7_069_016_064, "t5-xxl": 11_135_332_352}
ROWS, LENGTH, TARGETS = 2, 12, 3
SEEDS = 5

pytestmark = pytest.mark.slow
large = pytest.mark.parametrize("name", TABLE_2)


@cache
def on_meta(name: str) -> Any:
    ref = backbones.get(name)
    with torch.device("meta"):
        model = weights._empty(ref).requires_grad_(False).eval()
    return SimpleNamespace(ref=ref, model=model, tokenizer=None, device=torch.device("meta"))


def trial(name: str, method: Any, seed: int | None = None) -> Trial:
    task = TaskRef("rte", Source("hub", "nyu-mll/glue", "main"))
    return Trial(backbones.get(name), task, method, 1e-3, Training(1), position_seed=seed)


def inputs(family: str, rows: int) -> dict[str, torch.Tensor]:
    """Shapes alone; rows as long as they are wide, so that no mask is needed."""
    ids = torch.zeros(rows, LENGTH, dtype=torch.int64, device="meta")
    return {"input_ids": ids} | ({"decoder_input_ids": ids[:, :TARGETS]} if family == "t5" else {})


@large
def test_it_is_as_large_as_published_and_lies_nowhere(name: str) -> None:
    model = on_meta(name).model
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]
    assert all(x.is_meta for x in (*model.parameters(), *model.buffers()))


@large
def test_apet_has_the_counts_of_table_2_at_seeded_places_of_every_kind(name: str) -> None:
    """The groups of figure 4: as many scalars as each method has, by three operations, at five places each."""
    backbone, reached = on_meta(name), set()
    for method, count in TABLE_2[name].items():
        assert count_of(named(method), backbone.ref) == count
        placed = [
            layout(trial(name, apet(backbone.ref.family, count, dict.fromkeys(OPERATIONS, 1)), seed))
            for seed in range(SEEDS)
        ]
        modules = Modules(backbone, placed)
        assert [theta.numel() for theta in modules.thetas] == [count] * SEEDS
        hooked = {id(m) for m in backbone.model.modules() if m._forward_hooks}
        assert hooked == {id(find_module(backbone, site)[0]) for one in placed for site in one.touched()}
        reached |= {site.kind for one in placed for site in one.touched()}
        modules.close()
        assert not any(m._forward_hooks for m in backbone.model.modules())
    assert reached == {site.kind for site in sites(backbone.ref)} - {"norm"}


@large
def test_a_pass_goes_through_all_of_it_and_back_to_every_module(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pack of four methods: shapes fit at every site, and each trial gets a gradient of its own size."""
    backbone, counts = on_meta(name), TABLE_2[name]
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind: False)  # torch knows none of this device
    mixed = apet(backbone.ref.family, counts["adapter"], dict.fromkeys(OPERATIONS, 1))
    methods = [named("lora"), named("adapter"), named("bitfit"), mixed]
    modules = Modules(backbone, [layout(trial(name, m, 0 if m is mixed else None)) for m in methods])
    modules.bind()
    logits = backbone.model(**inputs(backbone.ref.family, len(methods) * ROWS)).logits
    length = TARGETS if backbone.ref.family == "t5" else LENGTH
    assert logits.shape == (len(methods) * ROWS, length, backbone.ref.shape.vocab)
    logits.sum().backward()
    assert [theta.grad.numel() for theta in modules.thetas if theta.grad is not None] == [
        counts[method] for method in ("lora", "adapter", "bitfit", "adapter")
    ]
    assert all(p.grad is None for p in backbone.model.parameters())
    modules.close()
