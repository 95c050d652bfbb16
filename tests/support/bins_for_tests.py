"""A made-up T5 in one ``pytorch_model.bin``, as the hub has the study's, and a process that converts or loads it.

``python bins_for_tests.py convert|load|read FOLDER DTYPE`` prints a line of JSON: seconds, and the peak of resident memory
before and after in MiB.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from trials import backbones
from trials.trial import BackboneRef, Shape
from workers.backbone import convert, weights
from workers.backbone.drawn import Drawn
from workers.backbone.load import digest, load
from workers.backbone.source import each
from workers.environment import peak_memory_bytes

SMALL = Shape(3, 3, 128, 256, 4, 32, vocab=2048, positions=0, lm_head=True)  # 6 MB
LARGE = Shape(17, 17, 1024, 2816, 16, 64, vocab=2048, positions=0, lm_head=True)  # 2 GB


def ref_of(shape: Shape) -> BackboneRef:
    return backbones.with_random_weights(replace(backbones.get("t5-small"), name="made-up", shape=shape))


def write_bin(folder: Path, shape: Shape, bins: int = 1) -> Path:
    """The folder: float32 numbers of a stream, in one file or in several."""
    folder.mkdir(parents=True, exist_ok=True)
    config: Any = weights._bare(ref_of(shape)).config
    (folder / "config.json").write_text(json.dumps({**config.to_dict(), "tie_word_embeddings": False}))
    for file in (weights.TOKENIZERS / "tiny-t5").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    state = dict(each(Drawn(ref_of(shape)), torch.float32))
    names = list(state)
    for i in range(bins):
        name = "pytorch_model.bin" if bins == 1 else f"pytorch_model-{i + 1:05}-of-{bins:05}.bin"
        torch.save({key: state[key] for key in names[i::bins]}, folder / name)
    return folder


def bins_of(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.bin"))


def started(what: str, folder: Path, dtype: str = "bfloat16") -> subprocess.Popen[str]:
    """Another process that does it."""
    words = [sys.executable, __file__, what, str(folder), dtype]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=500)
    assert process.returncode == 0, err
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def _main(what: str, folder: Path, name: str) -> None:
    dtype, ref = getattr(torch, name), ref_of(SMALL if (folder / "small").exists() else LARGE)
    peak, start = peak_memory_bytes("cpu"), time.perf_counter()
    said: dict[str, Any] = {}
    if what == "convert":
        said["shards"] = [str(path) for path in convert.converted(bins_of(folder), dtype, ref.name)]
    elif what == "load":
        said["digest"] = load(ref, str(folder), "cpu", dtype).weights_digest
    else:
        said["tensors"] = sum(1 for _ in each(weights.opened(ref, str(folder), dtype).tensors, dtype))
    mib = [round(x / 2**20) for x in (peak, peak_memory_bytes("cpu"))]
    print(json.dumps({"seconds": round(time.perf_counter() - start, 1), "mib": mib, **said}), flush=True)


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
