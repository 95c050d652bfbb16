"""A made-up T5 in one ``pytorch_model.bin``, as the hub has the study's, and a process that converts or loads it.

``python bins_for_tests.py convert|load|read FOLDER SHAPE`` prints a line of JSON: what it has done in bf16, the
seconds, and the MiB that the peak of its resident memory rose by.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from paths import ROOT

from trials import backbones
from trials.trial import BackboneRef, Shape
from workers.backbone import convert, weights
from workers.backbone.drawn import Drawn
from workers.backbone.load import load
from workers.backbone.source import each
from workers.environment import peak_memory_bytes

SHAPES = {  # 2 MB and 2 GB in float32
    "small": Shape(2, 2, 64, 128, 4, 16, vocab=2048, positions=0, lm_head=True),
    "large": Shape(17, 17, 1024, 2816, 16, 64, vocab=2048, positions=0, lm_head=True),
}


def ref_of(shape: str) -> BackboneRef:
    return backbones.with_random_weights(replace(backbones.get("t5-small"), name="made-up", shape=SHAPES[shape]))


def write_bin(folder: Path, shape: str = "small", bins: int = 1) -> Path:
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


def started(what: str, folder: Path, shape: str = "small") -> subprocess.Popen[str]:
    """Another process that does it."""
    words = [sys.executable, __file__, what, str(folder), shape]
    places = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])
    return subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": places}
    )


def ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What it has done."""
    out, err = process.communicate(timeout=500)
    assert process.returncode == 0, err
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def _main(what: str, folder: Path, shape: str) -> None:
    dtype, ref = torch.bfloat16, ref_of(shape)
    seen: list[str] = []
    watch = logging.Handler()
    watch.emit = lambda record: seen.append(record.msg)  # type: ignore[method-assign]
    logging.basicConfig(level=logging.INFO, handlers=[watch])
    peak, start = peak_memory_bytes("cpu"), time.perf_counter()
    said: dict[str, Any] = {}
    if what == "convert":
        said["shards"] = [str(path) for path in convert.converted(bins_of(folder), dtype, ref.name)]
        said["converted"] = sum("converting shard" in line for line in seen)
    elif what == "load":
        said["digest"] = load(ref, str(folder), "cpu", dtype).weights_digest
    else:
        said["tensors"] = sum(1 for _ in each(weights.opened(ref, str(folder), dtype).tensors, dtype))
    rose = round((peak_memory_bytes("cpu") - peak) / 2**20)
    print(json.dumps({"seconds": round(time.perf_counter() - start, 1), "mib": rose, **said}), flush=True)


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
