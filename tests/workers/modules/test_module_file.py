"""Module files: what is read is what was written, and nothing is put on a backbone that it doesn't belong to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from tiny_for_tests import CASES, FAMILIES, frozen, logits, randomised

from trials.errors import ApetError
from trials.modules.positions import layout
from trials.trial import Trial
from workers.backbone import load as backbones
from workers.modules.file import ModuleFile
from workers.modules.modules import Modules


def loaded(name: str) -> Any:
    """A tiny backbone with what a module file asks about."""
    found = frozen(name)
    found.weights_digest, found.weights_source = backbones.digest(found.model), f"random:{name}"
    return found


def trained(trial: Trial, backbone: Any) -> tuple[ModuleFile, torch.Tensor]:
    """A module whose θ is anything but its start, and the backbone's logits with it."""
    modules = Modules(backbone, [layout(trial)])
    randomised(modules)
    modules.bind()
    out = logits(backbone)
    modules.close()
    return ModuleFile(trial, 2, backbone.weights_digest, "fp32", modules.thetas[0]), out


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("case", CASES, ids=lambda c: "-".join(map(str, c.values())))
def test_read_again_it_gives_the_same_outputs_bitwise(name: str, case: dict[str, Any], trial: Any) -> None:
    backbone = loaded(name)
    saved, out = trained(trial(name, **case), backbone)
    again = ModuleFile.from_bytes(saved.to_bytes())
    assert (again.trial, again.best_step, again.weights_digest) == (saved.trial, 2, backbone.weights_digest)
    assert again.head is None
    modules = again.onto(backbone)
    assert torch.equal(logits(backbone), out)
    modules.close()
    assert not torch.equal(logits(backbone), out)


def test_a_trained_head_comes_along(trial: Any) -> None:
    one = trial("tiny-bert", method="lora", trial={"head": "trained"})
    saved = ModuleFile(one, 2, "d", "fp32", trained(one, loaded("tiny-bert"))[0].theta, torch.randn(2, 64))
    again = ModuleFile.from_bytes(saved.to_bytes())
    assert saved.head is not None
    assert again.head is not None
    assert torch.equal(again.head, saved.head)
    with pytest.raises(ApetError, match="head: trained"):
        ModuleFile.from_bytes(replace(saved, head=None).to_bytes())


def test_a_backbone_of_another_shape_or_with_other_weights_is_refused(trial: Any) -> None:
    bert, bloom = loaded("tiny-bert"), loaded("tiny-bloom")
    saved, _ = trained(trial("tiny-bert"), bert)
    with pytest.raises(ApetError, match=r"tiny-bert \(bert, 2 blocks of 64\).*tiny-bloom.*load tiny-bert"):
        saved.onto(bloom)
    with torch.no_grad():
        next(bert.model.parameters())[0, 0] += 1
    bert.weights_digest = backbones.digest(bert.model)
    with pytest.raises(ApetError, match=rf"{saved.weights_digest} in fp32.*{bert.weights_digest}.*same weights"):
        saved.onto(bert)


def rewritten(data: bytes, tensors: dict[str, torch.Tensor] | None = None, **header: str | None) -> bytes:
    """The file with other header entries (None: without one) or tensors."""
    import json

    parsed = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    entries = {key: value for key, value in {**parsed, "crc32": None, **header}.items() if value is not None}
    return save(load(data) if tensors is None else tensors, metadata=entries)


def test_files_of_another_version_or_damaged_ones_are_refused(trial: Any) -> None:
    one = trial("tiny-bert", count=50)
    data = trained(one, loaded("tiny-bert"))[0].to_bytes()
    other = trial("tiny-bert", count=51)
    for wrong, says in (
        (rewritten(data, version="2"), r"mine: version 2 of apet-module; this build reads 1"),
        (rewritten(data, format="pt"), r"mine: its format is 'pt'"),
        (rewritten(data, best_step=None), r"mine: .*lacks best_step"),
        (rewritten(data, spec=other.spec), r"mine: .*contradicts"),
        (rewritten(data, spec=other.spec, trial_id=other.trial_id), r"no tensor theta of 51 float32"),
        (rewritten(data, spec="{}"), r"mine: .*not a trial's spec"),
        (rewritten(data, spec=other.spec.replace(",", ", ")), r"mine: .*not the canonical text"),
        (rewritten(data, spec=other.spec.replace('"apet"', '"lorra"')), r"mine: .*lorra"),
        (rewritten(data, {"theta": torch.zeros(50, dtype=torch.float64)}), r"no tensor theta of 50 float32"),
        (data[:-7], r"mine: no whole module file"),
        (data[:200], r"mine: no whole module file"),
        (b"", r"mine: no whole module file"),
        (save({"theta": torch.zeros(50)}), r"mine: no whole module file"),
    ):
        with pytest.raises(ApetError, match=says):
            ModuleFile.from_bytes(wrong, "mine")
