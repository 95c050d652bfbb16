"""Module files: what is read is what was written, and nothing is put on a backbone that it doesn't belong to."""

from __future__ import annotations

import json
import subprocess
import sys
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
    parsed = header_text(data)
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


def test_equal_modules_are_equal_bytes_in_every_process(trial: Any) -> None:
    one = trial("tiny-bert", count=50)
    code = (
        "import sys, torch\n"
        "from trials.trial import Trial\n"
        "from workers.modules.file import ModuleFile\n"
        "module = ModuleFile(Trial.from_spec(sys.argv[1]), 2, 'd', 'fp32', torch.arange(50).float())\n"
        "sys.stdout.buffer.write(module.to_bytes())"
    )
    written = {subprocess.run([sys.executable, "-c", code, one.spec], check=True, stdout=-1).stdout for _ in range(3)}
    written.add(ModuleFile(one, 2, "d", "fp32", torch.arange(50).float()).to_bytes())
    assert len(written) == 1
    [data] = written
    assert list(header_text(data)) == sorted(header_text(data))
    assert torch.equal(load(data)["theta"], torch.arange(50).float())


def header_text(data: bytes) -> dict[str, str]:
    """The text of a file's header, in its order."""
    found: dict[str, str] = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    return found


def test_a_changed_byte_is_harmless_or_named(trial: Any) -> None:
    saved = ModuleFile(trial("tiny-bert", count=50), 2, "d", "fp32", torch.arange(50).float())
    whole, harmless = saved.to_bytes(), 0
    for at in range(len(whole)):
        for mask in (0x01, 0x80, 0xFF):
            damaged = whole[:at] + bytes([whole[at] ^ mask]) + whole[at + 1 :]
            try:
                again = ModuleFile.from_bytes(damaged, "mine")
            except ApetError as error:
                if not str(error).startswith("mine: "):
                    raise
                continue
            assert (again.trial, again.best_step, again.weights_digest) == (saved.trial, 2, "d")
            assert torch.equal(again.theta, saved.theta)
            harmless += 1
    assert harmless <= len("crc32") * 3, "all but the word by which a seal is known"


def test_files_of_older_releases_have_no_seal(trial: Any) -> None:
    saved = ModuleFile(trial("tiny-bert", count=50), 2, "d", "fp32", torch.arange(50).float())
    older = rewritten(saved.to_bytes())
    assert b"crc32" not in older
    assert torch.equal(ModuleFile.from_bytes(older).theta, saved.theta)
