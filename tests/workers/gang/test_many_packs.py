"""Pack after pack on one backbone in shards costs the same: nothing is left behind."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from time import perf_counter

import pytest
from ranks import on_ranks
from tiny_for_tests import FAMILIES, WORDS, answers, batch
from trials_for_tests import make_trial

from trials import backbones
from trials.modules.positions import layout
from workers import allocator
from workers.backbone import load as loading
from workers.backbone.load import Backbone
from workers.backbone.sharded import Sharding
from workers.engines import choice
from workers.engines.engine import Group
from workers.gang.gang import Gang
from workers.modules.model import PackModel
from workers.modules.modules import Modules

PACKS = 45
WARM = 15  # packs until allocators and caches have what they need


def one_pack(gang: Gang, backbone: Backbone, recompute: bool) -> None:
    """Two trials, three steps, answers."""
    name = backbone.ref.name
    modules = Modules(backbone, [layout(make_trial(name, count=700)), layout(make_trial(name, "lora"))])
    words = WORDS if name == "tiny-bert" else None
    model = PackModel(backbone, modules, label_words=words, gang=gang, recompute=recompute)
    engine = choice.make("deepspeed", model, [Group([theta], 1e-3) for theta in modules.thetas], gang)
    for _ in range(3):
        losses = engine.losses(batch(name))
        engine.backward(losses.sum())
        engine.reduce(losses.detach())
        engine.clip([0, 1], 1.0)
        engine.step()
    answers(model, batch(name))
    engine.close()
    modules.close()


def held(backbone: Backbone) -> dict[str, int]:
    """What a process has, as far as it can be counted."""
    from deepspeed.runtime.zero.parameter_offload import FWD_MODULE_STACK

    gc.collect()
    modules = list(backbone.model.modules())
    return {
        "files": len(list(Path("/proc/self/fd").iterdir())),
        "threads": len(list(Path("/proc/self/task").iterdir())),
        "hooks": sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in modules),
        "running": len(FWD_MODULE_STACK),
        "gathered": sum(p.numel() for p in backbone.model.parameters() if p.dim() > 1),
        "objects": len(gc.get_objects()),
    }


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def many(gang: Gang, name: str, packs: int) -> list[tuple[dict[str, int], int, float]]:
    """After the first packs, and after all: what is held, resident bytes, seconds a pack."""
    allocator.return_large()
    backbone = loading.load(backbones.get(name), f"random:{name}", sharding=Sharding(gang))
    found = []
    for some in (range(WARM), range(WARM, packs)):
        start = perf_counter()
        for number in some:
            one_pack(gang, backbone, recompute=number % 2 == 1)
        found.append((held(backbone), resident(), (perf_counter() - start) / len(some)))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_memory_files_hooks_threads_and_time_stay_flat(name: str) -> None:
    for (before, bytes_before, pack_s), (after, bytes_after, later_pack_s) in on_ranks(2, many, name, PACKS):
        objects = after.pop("objects") - before.pop("objects")
        assert before == after
        assert before["gathered"] == 0
        assert objects < 10 * (PACKS - WARM), "an engine of DeepSpeed's a pack left 1 224 each"
        assert bytes_after - bytes_before < 6 * 2**20
        assert later_pack_s < 2 * pack_s, "the first ones are no quicker"
