"""A backbone in shards is the whole one: to read, to check, to let go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import on_ranks
from safetensors.torch import load_file, save_file
from tiny_for_tests import FAMILIES, WORDS, batch, logits
from trials_for_tests import make_trial

from trials import backbones
from trials.errors import ApetError
from trials.modules.positions import layout
from trials.modules.sites import sites
from workers.backbone import load as loading
from workers.backbone.load import Backbone, find_module, stacks
from workers.backbone.sharded import Sharding
from workers.gang.gang import Gang
from workers.modules.model import PackModel
from workers.modules.modules import Modules

families = pytest.mark.parametrize("name", FAMILIES)


def load(gang: Gang, name: str, dtype: torch.dtype = torch.float32, offload: bool = False) -> Backbone:
    return loading.load(backbones.get(name), f"random:{name}", dtype=dtype, sharding=Sharding(gang, offload))


def is_the_whole_one(gang: Gang, name: str, dtype: torch.dtype, offload: bool) -> tuple[int, int]:
    """Scalars that this rank holds, and those of the model."""
    whole, shards = loading.load(backbones.get(name), f"random:{name}", dtype=dtype), load(gang, name, dtype, offload)
    assert (whole.sharded, shards.sharded) == (False, True)
    for fact in ("weights_digest", "parameters", "device", "precision", "weights_source", "ref"):
        assert getattr(shards, fact) == getattr(whole, fact), fact
    assert shards.fingerprint() == whole.fingerprint()
    found = dict(shards.model.named_parameters())
    for key, p in whole.model.named_parameters():
        assert tuple(found[key].ds_shape) == tuple(p.shape)
        assert not found[key].requires_grad
        assert found[key].numel() == 0, "no rank has it whole"
    buffers = dict(shards.model.named_buffers())
    assert all(torch.equal(x, buffers[key]) for key, x in whole.model.named_buffers())
    for site in sites(whole.ref):
        assert type(find_module(shards, site)[0]) is type(find_module(whole, site)[0])
    assert [len(x.blocks) for x in stacks(shards).values()] == [len(x.blocks) for x in stacks(whole).values()]
    with torch.no_grad():
        assert torch.equal(logits(shards), logits(whole)) or dtype == torch.bfloat16
    assert shards.fingerprint() == whole.fingerprint()
    return sum(p.ds_tensor.numel() for p in found.values()), sum(p.numel() for p in whole.model.parameters())


@families
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_digest_counts_buffers_sites_and_logits_are_those_of_the_whole_model(name: str, ranks: int) -> None:
    for held, scalars in on_ranks(ranks, is_the_whole_one, name, torch.float32, False):
        assert scalars / ranks <= held <= scalars / ranks + ranks * 100, "padding of each tensor at most"


def test_offload_and_bf16_change_no_fact() -> None:
    """Where a device has no memory of its own, offload changes nothing but what DeepSpeed is told."""
    for held, scalars in on_ranks(2, is_the_whole_one, "tiny-t5", torch.bfloat16, True):
        assert held < 0.51 * scalars


def between_passes(gang: Gang, name: str, recompute: bool) -> list[int]:
    """Linear layers of a forward pass; how many of their gathered weights are there behind it, and at the end."""
    backbone = load(gang, name)
    modules = Modules(backbone, [layout(make_trial(name, count=700)), layout(make_trial(name, "bitfit"))])
    model = PackModel(backbone, modules, label_words=WORDS if name == "tiny-bert" else None, recompute=recompute)
    gathered: list[Any] = []

    def note(layer: Any, _: Any) -> None:
        assert layer.weight.numel() == layer.weight.ds_numel
        gathered.append(layer.weight.untyped_storage()._weak_ref())

    def there() -> int:
        gang.gather(None)  # gloo's threads hold what they did last
        found = [torch.UntypedStorage._new_with_weak_ptr(x) for x in gathered]
        return sum(x is not None and x.nbytes() > 0 for x in found)

    for layer in backbone.model.modules():
        if isinstance(layer, torch.nn.Linear):
            layer.register_forward_pre_hook(note)
    for _ in range(3):  # without, then with what DeepSpeed learns of a pass
        gathered.clear()
        losses = model(batch(name))
        seen = [len(gathered), there()]
        losses.sum().backward()
        assert backbone.shards is not None
        backbone.shards.rest()
        seen.append(there())
    return seen


@families
@pytest.mark.parametrize("recompute", [False, True])
def test_a_weight_is_whole_only_while_its_layer_runs(name: str, recompute: bool) -> None:
    """Autograd, which needs it again on the way back, doesn't hold it; of what was fetched ahead some may be there."""
    for layers, behind, end in on_ranks(2, between_passes, name, recompute):
        assert layers >= 9
        assert behind <= 3
        assert end <= 2, "in the threads of gloo"


def changed(gang: Gang) -> list[bool]:
    """Whether a fingerprint tells that one scalar was changed on the last rank, and that it was changed back."""
    backbone = load(gang, "tiny-bert")
    before = backbone.fingerprint()
    shard: Any = backbone.model.get_parameter("bert.encoder.layer.1.output.dense.weight")
    kept = shard.ds_tensor[7].clone()
    if gang.rank == gang.ranks - 1:
        shard.ds_tensor[7] += 1e-3
    told = backbone.fingerprint() != before
    shard.ds_tensor[7] = kept
    return [told, backbone.fingerprint() == before]


def test_every_rank_sees_that_a_scalar_of_one_was_changed() -> None:
    assert on_ranks(2, changed) == [[True, True]] * 2


def folder_of(place: Path, edit: Any) -> Path:
    """A folder with a tiny T5, whose tensors were edited."""
    backbone = loading.load(backbones.get("tiny-t5"), "random:tiny-t5")
    backbone.model.save_pretrained(place)  # type: ignore[operator]
    backbone.tokenizer.save_pretrained(place)
    tensors: Mapping[str, torch.Tensor] = load_file(place / "model.safetensors")
    edited = dict(tensors)
    edit(edited)
    save_file(edited, place / "model.safetensors", metadata={"format": "pt"})
    return place


def refused(gang: Gang, place: str) -> str:
    """What loading says; afterwards all ranks load another backbone, as if nothing had been."""
    ref = replace(backbones.get("tiny-t5"), name="mine")
    with pytest.raises(ApetError) as caught:
        loading.load(ref, place, sharding=Sharding(gang))
    backbone = load(gang, "tiny-t5")
    with torch.no_grad():
        logits(backbone)
    return str(caught.value)


NAME = "decoder.block.1.layer.2.DenseReluDense.wo.weight"
BAD: dict[str, tuple[Any, str]] = {
    "missing": (lambda tensors: tensors.pop(NAME), NAME),
    "unexpected": (lambda tensors: tensors.update(more=torch.zeros(3)), "more"),
    "shape": (lambda tensors: tensors.update({NAME: torch.zeros(3, 5)}), NAME),
    "the first rank's part isn't finite": (lambda tensors: tensors[NAME].view(-1)[:1].fill_(torch.nan), NAME),
    "the last rank's part isn't finite": (lambda tensors: tensors[NAME].view(-1)[-1:].fill_(torch.inf), NAME),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_tensor_that_is_wrong_is_named_on_every_rank(bad: str, tmp_path: Path) -> None:
    edit, name = BAD[bad]
    place = str(folder_of(tmp_path / "model", edit))
    with pytest.raises(ApetError) as alone:
        loading.load(replace(backbones.get("tiny-t5"), name="mine"), place)
    assert name in str(alone.value)
    for said in on_ranks(2, refused, place):
        assert str(alone.value) in said, "what a process alone says, and on which rank"


def gone(gang: Gang) -> list[int]:
    """Bytes of the shards of a backbone before and after it is closed."""
    backbone = load(gang, "tiny-bloom")
    with torch.no_grad():
        logits(backbone)
    shards: list[Any] = [p.ds_tensor for p in backbone.model.parameters()]  # type: ignore[attr-defined]
    storages = [x.untyped_storage()._weak_ref() for x in shards]
    held = sum(x.nbytes for x in shards)
    del shards
    backbone.close()
    gang.gather(None)  # gloo's threads hold what they did last
    alive = [torch.UntypedStorage._new_with_weak_ptr(x) for x in storages]
    return [held, sum(x.nbytes() for x in alive if x is not None)]


def test_a_closed_backbone_holds_no_memory_although_python_still_has_it() -> None:
    for before, after in on_ranks(2, gone):
        assert before > 100_000
        assert after == 0
