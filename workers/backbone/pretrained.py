"""A pretrained backbone from a folder or the hub, tensor by tensor: nothing is made up, nothing is passed over.

Only the files that a folder's digest covers are looked at (``trials.sources.folders.weight_files``): no adapter, no
``generation_config.json`` and no code that lies beside them can change what a trial's id stands for. The model is built
from its config without storage; every tensor that the shape needs is then read straight to its place, in the precision
asked for. Tied names share one tensor; T5's ``lm_head`` is its own. Torch's own files, where they are large, are read
from a converted copy: the trial's id is still that of the files themselves.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trials.errors import ApetError
from trials.sources import tensors
from trials.sources.folders import SAFETENSORS, weight_files
from trials.sources.ignored import ignored
from trials.trial import BackboneRef
from workers.backbone import convert
from workers.backbone.files import Bins, Safetensors, short
from workers.backbone.opened import Opened
from workers.backbone.source import Filed

ATTENTION = {"bert": "sdpa", "bloom": "eager", "t5": "sdpa"}  # BLOOM's then by fuse_bloom
SETTINGS = {  # of every config: no dropout; a cache where it is asked for, for in training it copies keys and values
    "bert": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    "bloom": {"hidden_dropout": 0.0, "attention_dropout": 0.0, "use_cache": False},
    "t5": {"dropout_rate": 0.0, "use_cache": False},
}

_log = logging.getLogger(__name__)


def from_folder(ref: BackboneRef, folder: Path, dtype: torch.dtype, large: int | None = None) -> Opened:
    """Open a folder as ``save_pretrained`` writes it.

    Args:
        ref: the backbone that it must hold.
        folder: the model's.
        dtype: that it will be loaded in.
        large: bytes of torch's own files from which on they are converted first; None: ``convert.LARGE``.

    Raises:
        ApetError: a file that is missing, cut or no model's; Problems: tensors that are missing, unexpected or of
            another shape; and as ``convert.converted``.
    """
    files = weight_files(folder)
    for line in ignored(folder):
        _log.warning("%s: %s", ref.name, line)
    weights = [path for path in files if path.suffix in (".safetensors", ".bin")]
    tensors.check_index(folder, tuple(weights))
    source = _source(ref, folder, weights, dtype, convert.LARGE if large is None else large)
    with _only(files) as view:
        try:
            model, tokenizer = _skeleton(ref, view), tokenizer_of(view)
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            raise ApetError(f"{folder}: can't be read as a {ref.family} model: {short(error)}") from error
    return Opened(ref, model, tokenizer, source)


def from_hub(ref: BackboneRef, hub_id: str, revision: str, dtype: torch.dtype) -> Opened:
    """Open a model of the hub, from the local cache where it is there.

    Raises:
        ApetError: as :func:`snapshot` and :func:`from_folder`.
    """
    return from_folder(ref, snapshot(ref, hub_id, revision), dtype)


def snapshot(ref: BackboneRef, hub_id: str, revision: str) -> Path:
    """The folder of a model of the hub, downloaded where it isn't here yet.

    Raises:
        ApetError: it can't be had, with what was tried.
    """
    from huggingface_hub import snapshot_download

    options: dict[str, Any] = {"revision": revision, "ignore_patterns": ["*/*"]}
    texts = ["*.json", "*.txt", "*.model"]
    why = "no weights there"
    try:
        folder = Path(snapshot_download(hub_id, allow_patterns=[*texts, "*.safetensors"], **options))
        if not any(folder.glob(SAFETENSORS)):
            folder = Path(snapshot_download(hub_id, allow_patterns=[*texts, "pytorch_model*.bin"], **options))
        if any(path.is_file() for kind in (SAFETENSORS, "pytorch_model*.bin") for path in folder.glob(kind)):
            return folder
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        why = short(error)
    offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0") else ""
    raise ApetError(
        f"{ref.name}: tried the local hub cache and the hub{offline} for {hub_id} at {revision}: {why}; "
        f"with no network, bring its files here and give their folder: {{name: {ref.name}, model_dir: PATH}} in a sweep"
    )


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


def _source(ref: BackboneRef, folder: Path, files: Sequence[Path], dtype: torch.dtype, large: int) -> Filed:
    """The tensors of some weight files: read as they are, or from their converted copy; errors name the files."""
    if files[0].suffix == ".safetensors":
        plain = Safetensors(files)
        return Filed(tensors.match(ref, plain.stored, str(folder)), plain)
    if sum(path.stat().st_size for path in files) < large:
        bins = Bins(files)
        return Filed(tensors.match(ref, bins.stored, str(folder)), bins)

    def match(stored: Mapping[str, tensors.Stored]) -> dict[str, tensors.Stored]:
        return tensors.match(ref, stored, str(folder))

    copy = Safetensors(convert.converted(files, dtype, ref.name, check=match))
    said = files[0] if len(files) == 1 else folder
    return Filed(match({name: replace(one, file=said) for name, one in copy.stored.items()}), copy)


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


@contextlib.contextmanager
def _only(files: Sequence[Path]) -> Iterator[Path]:
    """A folder with links to some files and nothing else."""
    with tempfile.TemporaryDirectory(prefix="apet-model-") as place:
        for path in files:
            if path.suffix not in (".safetensors", ".bin"):
                (Path(place) / path.name).symlink_to(path.resolve())
        yield Path(place)
