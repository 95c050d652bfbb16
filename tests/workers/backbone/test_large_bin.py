"""A made-up T5 of 2 GB in one ``.bin``: memory, a kill in the middle, eight processes at once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from bins_for_tests import ended, ref_of, started, write_bin

from trials.sources import copies
from workers.backbone.load import digest
from workers.backbone.pretrained import from_folder

GIB_IN_MIB = 2**10


@pytest.mark.slow
def test_a_file_of_2_gb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APET_CACHE", str(tmp_path / "cache"))
    model = write_bin(tmp_path / "model", "large")
    killed = started("convert", model, "large")
    while killed.poll() is None and not list(copies.root().glob("*/*.safetensors")):
        time.sleep(0.01)
    killed.kill()
    killed.communicate()
    [copy] = copies.every()
    [first, *_] = sorted(copy.folder.glob("*.safetensors"))
    assert not copy.whole
    written = first.stat().st_mtime_ns

    eight = [ended(process) for process in [started("convert", model, "large") for _ in range(8)]]
    print(*eight, sep="\n")
    assert sorted(said["converted"] for said in eight)[:7] == [0] * 7
    assert max(said["converted"] for said in eight) == len(eight[0]["shards"]) - 1
    assert first.stat().st_mtime_ns == written
    assert max(said["mib"] for said in eight) < 0.6 * GIB_IN_MIB

    loaded = ended(started("load", model, "large"))
    print(loaded)
    assert loaded["mib"] < 1.0 * GIB_IN_MIB + 300  # the model itself, and the code that reads it
    read = ended(started("read", model, "large"))
    print(read)
    assert read["mib"] < 400
    plain = from_folder(ref_of("large"), model, torch.bfloat16, large=2**40).on("cpu", torch.bfloat16)
    assert loaded["digest"] == digest(plain.model)
