"""A pretrained backbone from a folder or the hub, tensor by tensor: nothing is made up, nothing is passed over.

Only the files that a folder's digest covers are looked at (``trials.sources.folders.weight_files``): no adapter, no
``generation_config.json`` and no code that lies beside them can change what a trial's id stands for. The model is built
from its config without storage; every tensor that the shape needs is then put in its place, in the precision asked for,
so that at most one tensor is in memory twice. Tied names share one tensor; T5's ``lm_head`` is its own.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trials.errors import ApetError
from trials.sources import tensors
from trials.sources.folders import weight_files
from trials.sources.ignored import ignored
from trials.trial import BackboneRef

ATTENTION = {"bert": "sdpa", "bloom": "eager", "t5": "sdpa"}  # BLOOM's then by fuse_bloom
SETTINGS = {  # of every config: no dropout; a cache where it is asked for, for in training it copies keys and values
    "bert": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    "bloom": {"hidden_dropout": 0.0, "attention_dropout": 0.0, "use_cache": False},
    "t5": {"dropout_rate": 0.0, "use_cache": False},
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Found:
    """A model as read, and its tokenizer."""

    model: nn.Module
    tokenizer: Any


def from_folder(ref: BackboneRef, folder: Path, dtype: torch.dtype) -> Found:
    """Read a folder as ``save_pretrained`` writes it.

    Raises:
        ApetError: a file that is missing, cut or no model's; Problems: tensors that are missing, unexpected or of
            another shape; a tensor with numbers that aren't finite.
    """
    files = weight_files(folder)
    for line in ignored(folder):
        _log.warning("%s: %s", ref.name, line)
    weights = [path for path in files if path.suffix in (".safetensors", ".bin")]
    tensors.check_index(folder, tuple(weights))
    stored, get = _opened(weights)
    found = tensors.match(ref, stored, str(folder))
    with _only(files) as view:
        try:
            model, tokenizer = _skeleton(ref, view), tokenizer_of(view)
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            raise ApetError(f"{folder}: can't be read as a {ref.family} model: {short(error)}") from error
    for name, one in found.items():
        _put(model, name, _checked(get(one.name), one, dtype))
    return Found(_complete(model, ref), tokenizer)


def from_hub(ref: BackboneRef, hub_id: str, revision: str, dtype: torch.dtype) -> Found:
    """Read a model of the hub, from the local cache where it is there.

    Raises:
        ApetError: it can't be had, with what was tried; else as :func:`from_folder`.
    """
    from huggingface_hub import snapshot_download

    options: dict[str, Any] = {"revision": revision, "ignore_patterns": ["*/*"]}
    texts = ["*.json", "*.txt", "*.model"]
    try:
        folder = Path(snapshot_download(hub_id, allow_patterns=[*texts, "*.safetensors"], **options))
        if not any(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(hub_id, allow_patterns=[*texts, "pytorch_model*.bin"], **options))
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0") else ""
        raise ApetError(
            f"{ref.name}: tried the local hub cache and the hub{offline} for {hub_id} at {revision}: {short(error)}; "
            f"with no network, give a local folder: {{name: {ref.name}, model_dir: PATH}}"
        ) from error
    return from_folder(ref, folder, dtype)


def fuse_bloom(model: nn.Module) -> None:
    """Give a BLOOM the fused attention that transformers has for the other families."""
    from workers.backbone import alibi  # it imports transformers

    alibi.fuse(model)


def tokenizer_of(folder: Path) -> Any:
    """The tokenizer in a folder; one without a ``model_type`` in its config is a plain fast tokenizer."""
    import json

    import transformers as tf

    config = folder / "config.json"
    if config.is_file() and "model_type" in json.loads(config.read_text(encoding="utf-8")):
        return tf.AutoTokenizer.from_pretrained(str(folder))
    return tf.PreTrainedTokenizerFast.from_pretrained(str(folder))


def short(error: BaseException) -> str:
    """The first line of an error's text: transformers' errors run over many."""
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"


def _opened(files: Sequence[Path]) -> tuple[dict[str, tensors.Stored], Callable[[str], Tensor]]:
    """What some weight files hold, and a way to read one tensor by its stored name."""
    from safetensors import safe_open

    if files[0].suffix == ".bin":
        return _opened_bin(files)
    stored = tensors.headers(tuple(files))
    handles = {path: safe_open(path, "pt") for path in files}
    return stored, lambda name: handles[stored[name].file].get_tensor(name)  # type: ignore[no-untyped-call]


def _opened_bin(files: Sequence[Path]) -> tuple[dict[str, tensors.Stored], Callable[[str], Tensor]]:
    """Torch's own files: mapped, and read as tensors alone; whatever else a pickle may hold is refused, not run."""
    held: dict[str, Tensor] = {}
    stored: dict[str, tensors.Stored] = {}
    for path in files:
        tensors.check_pointer(path)
        try:
            try:
                state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            except RuntimeError:  # the format of before torch 1.6 can't be mapped
                state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # unpickling raises whatever it likes
            raise ApetError(
                f"{path}: not a file of tensors alone ({short(error)}); give safetensors, or a .bin of plain tensors"
            ) from error
        if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
            raise ApetError(f"{path}: it holds more than tensors by name; give the state dict of the model")
        held |= state
        stored |= {name: tensors.Stored(name, tuple(value.shape), path) for name, value in state.items()}
    return stored, held.__getitem__


def _skeleton(ref: BackboneRef, folder: Path) -> nn.Module:
    """The family's class as the config describes it, without storage."""
    import transformers as tf

    config = tf.AutoConfig.from_pretrained(str(folder))
    if config.model_type != ref.family:
        raise ApetError(f"{folder}: its config says {config.model_type}, but {ref.name} is of the family {ref.family}")
    for key, value in SETTINGS[ref.family].items():
        setattr(config, key, value)
    kinds: dict[str, Any] = {
        "bert": tf.AutoModelForMaskedLM if ref.shape.lm_head else tf.AutoModel,
        "bloom": tf.AutoModelForCausalLM,
        "t5": tf.AutoModelForSeq2SeqLM,
    }
    bare = {"add_pooling_layer": False} if ref.family == "bert" and not ref.shape.lm_head else {}
    with torch.device("meta"):
        model: nn.Module = kinds[ref.family].from_config(config, attn_implementation=ATTENTION[ref.family], **bare)
    if ref.family == "bloom":
        fuse_bloom(model)
    return model


def _checked(value: Tensor, one: tensors.Stored, dtype: torch.dtype) -> Tensor:
    """A copy in the precision asked for.

    Raises:
        ApetError: it holds no floating-point numbers, or some that aren't finite.
    """
    if not value.is_floating_point():
        raise ApetError(f"{one.file}: {one.name} is {value.dtype}; weights are float32, bfloat16 or float16")
    copy = value.to(dtype, copy=True)
    if not torch.isfinite(copy).all():
        raise ApetError(f"{one.file}: {one.name} holds numbers that are not finite in {dtype}; copy the file again")
    return copy


def _complete(model: nn.Module, ref: BackboneRef) -> nn.Module:
    """Tie what is tied, and give BERT its tables of positions and segments, which no file needs to hold."""
    names = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    for copy, source in tensors.TIED[ref.family].items():
        if copy in names and source in names:
            _put(model, copy, model.get_parameter(source))
    for name, buffer in list(model.named_buffers()):
        parent, _, leaf = name.rpartition(".")
        assert leaf in ("position_ids", "token_type_ids"), f"a buffer that no file holds: {name}"
        length = buffer.shape[-1]
        value = torch.arange(length)[None] if leaf == "position_ids" else torch.zeros(1, length, dtype=torch.long)
        model.get_submodule(parent).register_buffer(leaf, value, persistent=False)
    left = [name for name, value in [*model.named_parameters(), *model.named_buffers()] if value.is_meta]
    assert not left, f"tensors without values: {left}"
    return model


def _put(model: nn.Module, name: str, value: Tensor) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(
        model.get_submodule(parent),
        leaf,
        value if isinstance(value, nn.Parameter) else nn.Parameter(value, requires_grad=False),
    )


@contextlib.contextmanager
def _only(files: Sequence[Path]) -> Iterator[Path]:
    """A folder with links to some files and nothing else."""
    with tempfile.TemporaryDirectory(prefix="apet-model-") as place:
        for path in files:
            if path.suffix not in (".safetensors", ".bin"):
                (Path(place) / path.name).symlink_to(path.resolve())
        yield Path(place)
