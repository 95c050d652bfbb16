"""The weights on this machine, as plain rows: downloads of the hub, packages, converted copies; and fetching ahead."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trials import backbones
from trials.errors import ApetError, choices
from trials.families import check_family
from trials.sources import copies
from trials.sources.folders import SAFETENSORS, json_of, weight_files
from trials.sources.locations import find_weights
from trials.sources.precisions import precision_of
from trials.trial import BackboneRef

PRECISIONS = ("bf16", "fp32")
_SUFFIXES = (".safetensors", ".bin", ".onnx")


def weights() -> list[dict[str, Any]]:
    """The weights of built-in backbones that are here, then every converted copy.

    Each row: ``backbone``, ``kind`` (hub, package, converted), ``precision`` as stored (None: unknown), ``bytes``,
    ``state`` (whole, or partial: a download or a conversion goes on where it was), ``place``.
    """
    found = [row for ref in backbones.BACKBONES.values() if (row := _here(ref)) is not None]
    return [*found, *map(_copy, copies.every())]


def fetch(name: str, precision: str | None = None, model_dir: Path | None = None) -> list[dict[str, Any]]:
    """Have a backbone's weights here, checked, and converted where they are one large file of torch's.

    Args:
        name: built in, or any with ``model_dir``.
        precision: bf16 or fp32, what a copy is for; None: what ``auto`` comes to on this machine.
        model_dir: a folder as ``save_pretrained`` writes it, instead of the hub.

    Returns:
        rows as of :func:`weights`, of what will be read; none for random weights, which are made.

    Raises:
        ApetError: an unknown name or precision, a hub that can't be reached, a folder that is no such model, a disk
            that is too small.
    """
    if precision not in (None, *PRECISIONS):
        raise ApetError(f"precision {precision!r} is unknown; {choices(precision, PRECISIONS)}")
    if model_dir is None and name not in backbones.BACKBONES:
        raise ApetError(
            f"backbone {name!r} is not built in; {choices(name, backbones.BACKBONES)}; for one of your own give its "
            "folder: --model-dir DIR"
        )
    family = _family(weight_files(model_dir)[0]) if model_dir is not None and name not in backbones.BACKBONES else None
    ref, location = find_weights(name, model_dir, family=family)
    if ref.weights.kind == "random":
        return []

    import torch

    from workers.backbone import convert
    from workers.backbone.weights import opened
    from workers.environment import device_of, precision_of

    wanted = precision or precision_of("auto", device_of("auto"))
    opened(ref, location, torch.bfloat16 if wanted == "bf16" else torch.float32)
    here = _here(ref) if model_dir is None else _row(ref.name, "folder", _model_files(model_dir), model_dir)
    assert here is not None, location
    files = _model_files(Path(here["place"])) if here["kind"] != "package" else []
    large = (
        files[:1] != [] and files[0].suffix == ".bin" and sum(path.stat().st_size for path in files) >= convert.LARGE
    )
    copy = copies.copy_in(copies.place(files, wanted)) if large else None
    return [here, *([_copy(copy)] if copy is not None else [])]


def _here(ref: BackboneRef) -> dict[str, Any] | None:
    """The row of a built-in backbone's own weights, None where they aren't here."""
    if ref.weights.kind == "package":
        return _package(ref)
    if ref.weights.kind != "hub":
        return None
    from huggingface_hub import snapshot_download

    try:
        place = Path(snapshot_download(ref.weights.name, revision=ref.weights.version, local_files_only=True))
    except (OSError, ValueError):
        return None
    return _row(ref.name, "hub", _model_files(place), place)


def _package(ref: BackboneRef) -> dict[str, Any] | None:
    try:
        find_weights(ref.name)
        listed = importlib.metadata.files(ref.weights.name) or []
    except (ApetError, importlib.metadata.PackageNotFoundError):
        return None
    files = [Path(str(file.locate())) for file in listed if file.suffix in _SUFFIXES]
    return _row(ref.name, "package", files, files[0].parent) if files else None


def _model_files(folder: Path) -> list[Path]:
    """The weights in a model's folder that are read, as far as they are there; safetensors before torch's own."""
    kinds = (sorted(folder.glob(kind)) for kind in (SAFETENSORS, "pytorch_model*.bin"))
    return next(([path for path in files if path.is_file()] for files in kinds if files), [])


def _row(backbone: str, kind: str, files: Sequence[Path], place: Path) -> dict[str, Any]:
    size, state = sum(path.stat().st_size for path in files), "whole" if _complete(place, files) else "partial"
    stored = precision_of(files)
    return _as_row(backbone, kind, stored, size, state, place)


def _complete(folder: Path, files: Sequence[Path]) -> bool:
    """Whether there are weights, and every shard that an index names."""
    from trials.sources.tensors import check_index

    try:
        check_index(folder, tuple(files))
    except ApetError:
        return False
    return bool(files)


def _copy(copy: copies.Copy) -> dict[str, Any]:
    state = "whole" if copy.whole else "partial"
    return _as_row(copy.backbone, "converted", copy.precision, copy.bytes, state, copy.folder)


def _as_row(backbone: str, kind: str, precision: str | None, size: int, state: str, place: Path) -> dict[str, Any]:
    return {
        "backbone": backbone,
        "kind": kind,
        "precision": precision,
        "bytes": size,
        "state": state,
        "place": str(place),
    }


def _family(config: Path) -> str:
    """The family that a model's config names.

    Raises:
        ApetError: none of ours.
    """
    kind = str(json_of(config).get("model_type"))
    try:
        check_family(kind)
    except ApetError as error:
        raise ApetError(f"{config}: model_type: {error}") from None
    return kind
