"""Small folders of data and weights, as users have them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

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
    """A model folder whose safetensors file has a header and no data."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(dict(config)))
    (folder / "tokenizer.json").write_text("{}")
    header = json.dumps({name: {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for name in tensors}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    return folder
