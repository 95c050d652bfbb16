"""The tensors that a backbone consists of, by name and shape, and what a folder's files hold of them.

Loaders fill what a checkpoint lacks with random numbers, pass over what they don't know, and drop tied names from their
list of what is missing; a wrong folder then trains without a word. So the table below is compared with the files before
anything loads: what is missing, unexpected or of another shape is an error that names tensor and file.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from trials.errors import ApetError, Problems
from trials.trial import BackboneRef, Shape

Sizes = tuple[int, ...]
RELATIVE_BUCKETS = 32  # rows of T5's table of relative positions
TOKEN_TYPES = 2  # rows of BERT's table of segments
SHOWN = 5  # tensors named of each kind of fault

# Tied names: a copy of another tensor that some checkpoints hold, and loaders make
TIED: Mapping[str, Mapping[str, str]] = {
    "bert": {
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
    "bloom": {"lm_head.weight": "transformer.word_embeddings.weight"},
    "t5": {"encoder.embed_tokens.weight": "shared.weight", "decoder.embed_tokens.weight": "shared.weight"},
}
# What published checkpoints hold beside the model that we load
BESIDE: Mapping[str, str] = {
    "bert": r"(bert\.)?(pooler\..*|embeddings\.position_ids|embeddings\.token_type_ids)|cls\.seq_relationship\..*",
    "bloom": r"(?!)",
    "t5": r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",
}


@dataclass(frozen=True)
class Stored:
    """One tensor of a file: its name there, its shape, the file; in safetensors its dtype (``F32``) and first byte."""

    name: str
    shape: Sizes
    file: Path
    dtype: str = ""
    at: int = 0

    @property
    def scalars(self) -> int:
        """How many scalars it has."""
        return prod(self.shape)


def needed(ref: BackboneRef) -> dict[str, Sizes]:
    """Every tensor of a backbone as a worker loads it, by its name in transformers; tied ones once."""
    return dict(_TABLES[ref.family](ref.shape))


def canonical_name(name: str, ref: BackboneRef) -> str:
    """A stored name as :func:`needed` has it: old names of norms, and the prefix that some checkpoints leave out."""
    if ref.family == "bert":
        name = re.sub(r"\.gamma$", ".weight", re.sub(r"\.beta$", ".bias", name))
        if re.match(r"(bert\.)?(embeddings|encoder|pooler)\.", name):
            return ("bert." if ref.shape.lm_head else "") + name.removeprefix("bert.")
    if ref.family == "bloom" and re.match(r"(word_embeddings|word_embeddings_layernorm|h|ln_f)\.", name):
        return f"transformer.{name}"
    return name


def match(ref: BackboneRef, stored: Mapping[str, Stored], where: str) -> dict[str, Stored]:
    """Which stored tensor is which of the backbone's.

    Args:
        ref: the backbone.
        stored: of all files, by their names there.
        where: the folder, for messages.

    Raises:
        Problems: what is missing, unexpected or of another shape, each with its file.
    """
    want, tied = needed(ref), TIED[ref.family]
    found: dict[str, Stored] = {}
    copies: dict[str, Stored] = {}
    unexpected = []
    for one in stored.values():
        name = canonical_name(one.name, ref)
        if name in want:
            found[name] = one
        elif name in tied and tied[name] in want:
            copies[tied[name]] = one
        elif not _beside(name, ref):
            unexpected.append(one)
    for name, copy in copies.items():
        found.setdefault(name, copy)  # the same tensor under its other name
    problems = _said([f"{name} {list(shape)}" for name, shape in want.items() if name not in found], "is missing")
    problems += _said([f"{one.name} ({one.file.name})" for one in unexpected], f"is no tensor of a {ref.family} model")
    problems += _said(
        [
            f"{one.name} is {list(one.shape)} in {one.file.name}, not {list(want[name])}"
            for name, one in found.items()
            if one.shape != want[name]
        ],
        "",
    )
    if problems:
        raise Problems(problems, f"the weights of {ref.name} in {where}; copy them again, or give the right model_dir")
    return found


def check_files(ref: BackboneRef, folder: Path, files: Sequence[Path]) -> None:
    """What can be said of a folder's weights with nothing loaded: whole files, every shard, names and shapes.

    Of torch's own files, which only torch reads, that they are there, no pointers and not cut.

    Raises:
        ApetError: as :func:`check_index`, :func:`headers` and :func:`match`.
    """
    weights = tuple(path for path in files if path.suffix in (".safetensors", ".bin"))
    check_index(folder, weights)
    if all(path.suffix == ".safetensors" for path in weights):
        match(ref, headers(weights), str(folder))
    for path in weights:
        check_pointer(path)
        if path.suffix == ".bin" and not _ends(path):
            raise ApetError(f"{path}: its end is missing; copy it again")


def headers(files: Iterable[Path]) -> dict[str, Stored]:
    """The tensors in safetensors files, from their headers; whether the files are whole.

    Raises:
        ApetError: a file that is cut, a git-lfs pointer, no safetensors, or a name in two files.
    """
    found: dict[str, Stored] = {}
    for path in files:
        for one in _header(path):
            if one.name in found:
                other = found[one.name].file.name
                raise ApetError(f"{path}: {one.name} stands in {other} too; keep the shards of one model")
            found[one.name] = one
    return found


def check_pointer(path: Path) -> None:
    """Refuse what git-lfs left in place of a file.

    Raises:
        ApetError: it is a pointer, or can't be read.
    """
    try:
        with path.open("rb") as file:
            start = file.read(40)
    except OSError as error:
        raise ApetError(f"{path}: {error.strerror or error}; it must be readable") from None
    if start.startswith(b"version https://git-lfs"):
        raise ApetError(f"{path}: a git-lfs pointer, not the weights themselves; fetch them with `git lfs pull`")


def check_index(folder: Path, files: tuple[Path, ...]) -> None:
    """Make sure that every shard of an index is there.

    Raises:
        ApetError: one isn't, or the index can't be read.
    """
    have = {path.name for path in files}
    for index in sorted(folder.glob("*.index.json")):
        try:
            shards = set(json.loads(index.read_text())["weight_map"].values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ApetError(f"{index}: no index of shards ({error!r}); copy it again") from None
        kind = ".safetensors" if ".safetensors" in index.name else ".bin"
        lacking = sorted(shards - have)
        if lacking and any(path.suffix == kind for path in files):
            raise ApetError(f"{index}: shard {lacking[0]} is not there ({len(lacking)} missing); copy the whole folder")


def _ends(path: Path) -> bool:
    """Whether a file of torch's, a zip archive, has the directory at its end; older ones are no archives."""
    with path.open("rb") as file:
        return file.read(2) != b"PK" or zipfile.is_zipfile(path)


def _header(path: Path) -> list[Stored]:
    check_pointer(path)
    try:
        with path.open("rb") as file:
            length, size = int.from_bytes(file.read(8), "little"), path.stat().st_size
            if not 2 <= length <= size - 8:
                raise ValueError("its header is cut")
            entries = json.loads(file.read(length))
        entries.pop("__metadata__", None)
        start, end = 8 + length, max((entry["data_offsets"][1] for entry in entries.values()), default=0)
        if start + end != size:
            raise ValueError(f"it has {size:,} bytes of {start + end:,}")
        return [_stored(path, start, name, **entry) for name, entry in entries.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ApetError(f"{path}: not a whole safetensors file ({error}); copy it again") from None


def _stored(path: Path, start: int, name: str, dtype: str, shape: list[int], data_offsets: list[int]) -> Stored:
    """One entry of a header; ``F32``, ``BF16`` say how many bits a number has, and ``BOOL`` has a byte."""
    begin, end = data_offsets
    bits = re.search(r"\d+", dtype)
    if begin < 0 or 8 * (end - begin) != prod(shape) * int(bits[0] if bits else 8):
        raise ValueError(f"{name} has {end - begin:,} bytes, which is not {dtype} {shape}")
    return Stored(name, tuple(shape), path, dtype, start + begin)


def _beside(name: str, ref: BackboneRef) -> bool:
    if ref.family == "bert" and not ref.shape.lm_head and name.startswith("cls."):
        return True
    return re.fullmatch(BESIDE[ref.family], name) is not None


def _said(faults: list[str], what: str) -> list[str]:
    """One line a fault, the first few of a kind."""
    lines = [f"{fault} {what}".rstrip() for fault in faults[:SHOWN]]
    return [*lines, f"and {len(faults) - SHOWN} more like it"] if len(faults) > SHOWN else lines


def _norm(name: str, d: int) -> Iterator[tuple[str, Sizes]]:
    yield from ((f"{name}.weight", (d,)), (f"{name}.bias", (d,)))


def _linear(name: str, d_out: int, d_in: int) -> Iterator[tuple[str, Sizes]]:
    yield from ((f"{name}.weight", (d_out, d_in)), (f"{name}.bias", (d_out,)))


def _bert(s: Shape) -> Iterator[tuple[str, Sizes]]:
    d, a, root = s.d_model, s.heads * s.d_kv, "bert." if s.lm_head else ""
    for table, rows in (("word", s.vocab), ("position", s.positions), ("token_type", TOKEN_TYPES)):
        yield f"{root}embeddings.{table}_embeddings.weight", (rows, d)
    yield from _norm(f"{root}embeddings.LayerNorm", d)
    for i in range(s.blocks):
        block = f"{root}encoder.layer.{i}"
        for part in ("query", "key", "value"):
            yield from _linear(f"{block}.attention.self.{part}", a, d)
        yield from _linear(f"{block}.attention.output.dense", d, a)
        yield from _norm(f"{block}.attention.output.LayerNorm", d)
        yield from _linear(f"{block}.intermediate.dense", s.d_ff, d)
        yield from _linear(f"{block}.output.dense", d, s.d_ff)
        yield from _norm(f"{block}.output.LayerNorm", d)
    if s.lm_head:
        yield "cls.predictions.bias", (s.vocab,)
        yield from _linear("cls.predictions.transform.dense", d, d)
        yield from _norm("cls.predictions.transform.LayerNorm", d)


def _bloom(s: Shape) -> Iterator[tuple[str, Sizes]]:
    d, a = s.d_model, s.heads * s.d_kv
    yield "transformer.word_embeddings.weight", (s.vocab, d)
    yield from _norm("transformer.word_embeddings_layernorm", d)
    for i in range(s.blocks):
        block = f"transformer.h.{i}"
        yield from _norm(f"{block}.input_layernorm", d)
        yield from _linear(f"{block}.self_attention.query_key_value", 3 * a, d)
        yield from _linear(f"{block}.self_attention.dense", d, a)
        yield from _norm(f"{block}.post_attention_layernorm", d)
        yield from _linear(f"{block}.mlp.dense_h_to_4h", s.d_ff, d)
        yield from _linear(f"{block}.mlp.dense_4h_to_h", d, s.d_ff)
    yield from _norm("transformer.ln_f", d)


def _t5(s: Shape) -> Iterator[tuple[str, Sizes]]:
    d, a = s.d_model, s.heads * s.d_kv
    yield "shared.weight", (s.vocab, d)
    for stack, blocks in (("encoder", s.blocks), ("decoder", s.decoder_blocks)):
        attentions = ("SelfAttention",) if stack == "encoder" else ("SelfAttention", "EncDecAttention")
        for i in range(blocks):
            block = f"{stack}.block.{i}"
            for j, attention in enumerate(attentions):
                for part in ("q", "k", "v"):
                    yield f"{block}.layer.{j}.{attention}.{part}.weight", (a, d)
                yield f"{block}.layer.{j}.{attention}.o.weight", (d, a)
                if i == j == 0:
                    yield f"{block}.layer.0.SelfAttention.relative_attention_bias.weight", (RELATIVE_BUCKETS, s.heads)
                yield f"{block}.layer.{j}.layer_norm.weight", (d,)
            last = f"{block}.layer.{len(attentions)}"
            for part in ("wi_0", "wi_1"):
                yield f"{last}.DenseReluDense.{part}.weight", (s.d_ff, d)
            yield f"{last}.DenseReluDense.wo.weight", (d, s.d_ff)
            yield f"{last}.layer_norm.weight", (d,)
        yield f"{stack}.final_layer_norm.weight", (d,)
    yield "lm_head.weight", (s.vocab, d)


_TABLES = {"bert": _bert, "bloom": _bloom, "t5": _t5}
