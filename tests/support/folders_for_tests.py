"""Small folders of data and weights, as users have them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path
from typing import Any

from trials.errors import ApetError
from trials.sources.folders import shape_of
from trials.sources.tensors import needed
from trials.trial import BackboneRef, Source

REVIEWS = [{"text": f"a film {i}", "label": i % 2} for i in range(4)]
BERT = {
    "model_type": "bert",
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "vocab_size": 2048,
    "max_position_embeddings": 256,
}
LM_HEAD = ("bert.embeddings.word_embeddings.weight", "cls.predictions.transform.dense.weight")


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]] = REVIEWS) -> Path:
    """Rows as .jsonl or .jsonl.gz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(dict(row)) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.name.endswith(".gz") else text.encode())
    return path


def write_model(folder: Path, config: Mapping[str, Any] = BERT, tensors: Iterable[str] = LM_HEAD) -> Path:
    """A model folder of zeros: every tensor that its shape needs, with a head where ``tensors`` have one.

    A config that gives no shape gets the named ``tensors`` alone, without numbers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(dict(config)))
    (folder / "tokenizer.json").write_text("{}")
    _write_tensors(folder, dict.fromkeys(tensors, (0,)))
    family = str(config.get("model_type"))
    try:
        shape = shape_of(folder, family, None)
    except (ApetError, KeyError):
        return folder
    _write_tensors(folder, needed(BackboneRef("made", family, "made", shape, Source("folder", "made", "1"))))
    return folder


def _write_tensors(folder: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    entries, at = {}, 0
    for name, shape in shapes.items():
        size = 4 * prod(shape)
        entries[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    header = json.dumps(entries).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + at)
