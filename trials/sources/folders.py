"""Local folders of weights and data: which files count, what they must hold; nothing is loaded."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from trials.errors import ApetError
from trials.sources.rows import columns_of
from trials.sources.tensors import headers
from trials.trial import Shape

SPLITS = ("train", "validation", "test")
SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet", ".csv")
SAFETENSORS = "model*.safetensors"  # one file or shards; an adapter that lies beside has another name
_TOKENIZERS = ("tokenizer.json", "vocab.txt", "spiece.model", "tokenizer.model", "vocab.json")
_TOKENIZER_EXTRAS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt")

# Shape field → the names it may have in a config.json, first found wins
_CONFIG: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "bert": {
        "blocks": ("num_hidden_layers",),
        "d_model": ("hidden_size",),
        "d_ff": ("intermediate_size",),
        "heads": ("num_attention_heads",),
        "vocab": ("vocab_size",),
        "positions": ("max_position_embeddings",),
    },
    "bloom": {
        "blocks": ("n_layer", "num_hidden_layers"),
        "d_model": ("hidden_size", "n_embed"),
        "heads": ("n_head", "num_attention_heads"),
        "vocab": ("vocab_size",),
    },
    "t5": {
        "blocks": ("num_layers",),
        "decoder_blocks": ("num_decoder_layers", "num_layers"),
        "d_model": ("d_model",),
        "d_ff": ("d_ff",),
        "heads": ("num_heads",),
        "d_kv": ("d_kv",),
        "vocab": ("vocab_size",),
    },
}


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The files of a model folder that decide what it computes: config, weights, tokenizer.

    Raises:
        ApetError: the folder, its config, weights or tokenizer are missing.
    """
    _check_folder(folder, "model_dir", "with config.json, weights and a tokenizer")
    weights = sorted(folder.glob(SAFETENSORS)) or sorted(folder.glob("pytorch_model*.bin"))
    tokenizer = [folder / name for name in _TOKENIZERS if (folder / name).is_file()]
    for found, what in (
        ((folder / "config.json").is_file(), "config.json"),
        (weights, "model.safetensors or pytorch_model.bin"),
        (tokenizer, f"tokenizer ({', '.join(_TOKENIZERS)})"),
    ):
        if not found:
            raise ApetError(f"model_dir {folder}: no {what} there; give a folder as save_pretrained writes it")
    extras = [folder / name for name in _TOKENIZER_EXTRAS if (folder / name).is_file()]
    return (folder / "config.json", *weights, *sorted(folder.glob("*.index.json")), *tokenizer, *extras)


def shape_of(folder: Path, family: str, table: Shape | None) -> Shape:
    """The shape that a model folder's config.json declares.

    Args:
        folder: with config.json.
        family: what it must be.
        table: the shape of the built-in backbone that it must agree with, if any.

    Raises:
        ApetError: another family, a number missing, or a shape that disagrees with the table.
    """
    where = folder / "config.json"
    config = json_of(where)
    kind = config.get("model_type")
    if kind != family:
        said = "no model_type" if kind is None else f"model_type {kind}"
        raise ApetError(
            f"{where}: {said}, but the backbone's family is {family}; give the config.json of these weights"
        )
    if family == "t5" and "gated" not in str(config.get("feed_forward_proj", "relu")):
        raise ApetError(f"{where}: a T5 of version 1.0 (feed_forward_proj is not gated); give a v1.1 model")
    numbers = {name: _number(config, keys, where) for name, keys in _CONFIG[family].items()}
    if numbers["heads"] > numbers["d_model"] or (family != "t5" and numbers["d_model"] % numbers["heads"]):
        raise ApetError(f"{where}: d_model {numbers['d_model']} does not divide into {numbers['heads']} heads")
    derived = {"decoder_blocks": 0, "positions": 0, "d_kv": numbers["d_model"] // numbers["heads"]}
    derived["d_ff"] = 4 * numbers["d_model"]  # BLOOM has no key for it
    shape = Shape(**{**derived, **numbers}, lm_head=_lm_head(folder, family, config, table))
    if table is not None and shape != table:
        differ = [name for name in Shape.__dataclass_fields__ if getattr(shape, name) != getattr(table, name)]
        said = ", ".join(f"{name} {getattr(shape, name)}, not {getattr(table, name)}" for name in differ)
        raise ApetError(f"{where}: another shape than the built-in one: {said}; give it a name of its own")
    return shape


def json_of(path: Path) -> dict[str, Any]:
    """The JSON object in a file of a model folder.

    Raises:
        ApetError: it can't be read, or holds something else.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ApetError(f"{path}: can't be read as JSON ({error})") from None
    if not isinstance(data, dict):
        raise ApetError(f"{path}: not a JSON object; give a folder as save_pretrained writes it")
    return data


def data_files(folder: Path, columns: Iterable[str] = (), what: str = "") -> dict[str, Path]:
    """The split files of a data folder, by split.

    Args:
        folder: with ``train`` and, where there are any, ``validation`` and ``test``.
        columns: each file must have.
        what: the data is for, in messages.

    Raises:
        ApetError: the folder or its train file is missing, two files are one split, a file is empty or
            lacks a column.
    """
    _check_folder(folder, "data_dir", f"with train, validation, test as {', '.join(SUFFIXES)}")
    files: dict[str, Path] = {}
    for split in SPLITS:
        found = [folder / f"{split}{suffix}" for suffix in SUFFIXES if (folder / f"{split}{suffix}").is_file()]
        if len(found) > 1:
            raise ApetError(f"data_dir {folder}: {split} is there as {' and '.join(p.name for p in found)}; keep one")
        if found:
            files[split] = found[0]
    if "train" not in files:
        raise ApetError(f"data_dir {folder}: no train file there; it is one of train{', train'.join(SUFFIXES)}")
    for path in files.values():
        have = columns_of(path) if columns else []
        if columns and not have:
            raise ApetError(f"{path} is empty; it must have at least one row")
        missing = [name for name in columns if name not in have]
        if missing:
            raise ApetError(
                f"{path}: no column {', '.join(missing)}{f', needed by {what}' if what else ''}; "
                f"found: {', '.join(have)}; use the hub's column names (`apet tasks`)"
            )
    return files


def _check_folder(folder: Path, key: str, needs: str) -> None:
    try:
        if folder.is_dir():
            return
        said = "not a folder" if folder.exists() else "not found"
    except OSError as error:  # a name that no file can have, a folder above that can't be entered
        said = error.strerror or str(error)
    raise ApetError(f"{key} {folder}: {said}; give a folder {needs}")


def _number(config: Mapping[str, Any], keys: tuple[str, ...], where: Path) -> int:
    for key in keys:
        value = config.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    raise ApetError(f"{where}: no positive number {' or '.join(keys)}, which a shape needs")


def _lm_head(folder: Path, family: str, config: Mapping[str, Any], table: Shape | None) -> bool:
    """Whether an encoder has its masked-language-model head, by the names of its tensors where they can be read."""
    if family != "bert":
        return True
    files = tuple(sorted(folder.glob(SAFETENSORS)))
    if files:
        return any("cls.predictions.transform" in name for name in headers(files))
    kinds = config.get("architectures")
    if isinstance(kinds, list) and kinds:
        return any(str(kind) in ("BertForMaskedLM", "BertForPreTraining") for kind in kinds)
    return table.lm_head if table is not None else False
