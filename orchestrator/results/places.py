"""Where the weights and data of a store's trials are now: looked for in many places, recognised by content.

A row says where they were found; folders move, and stores are copied to other machines. So a folder that is named in a
row is a first guess, and whatever is used has the content that the trial was given.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trials.errors import ApetError, Problems, choices
from trials.pack import Sources
from trials.sources.digests import folder_digest
from trials.sources.folders import data_files, shape_of, weight_files
from trials.sources.locations import below, location_of, plainly, relative, verify
from trials.store.store import Store
from trials.sweep.paths import folders_of
from trials.trial import BackboneRef, Source, Trial

if TYPE_CHECKING:
    from trials.sweep.sweep import Sweep

WEIGHTS, DATA = "weights", "data"
_KEYS = {WEIGHTS: "model_dir", DATA: "data_dir"}


@dataclass(frozen=True)
class Given:
    """Where to look first.

    Args:
        sweep: whatever it finds, under any name.
        data: folders by task; several where trials of one task have different data.
        weights: folders by backbone, likewise.
    """

    sweep: Sweep | None = None
    data: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    weights: Mapping[str, Sequence[Path]] = field(default_factory=dict)

    def folders(self) -> Iterator[tuple[str, str, Path]]:
        """What (weights or data), name and folder of everything that is given by name."""
        for what, by_name in ((WEIGHTS, self.weights), (DATA, self.data)):
            for name, folders in by_name.items():
                yield from ((what, name, folder) for folder in folders)


@dataclass(frozen=True)
class Wanted:
    """Weights or data that some trials need.

    Args:
        what: weights or data.
        name: of the backbone or task.
        content: what they were given.
        location: where it was found then, as their rows say it; "" where they don't.
        sweep: that they were run from.
        backbone: whose weights these are.
    """

    what: str
    name: str
    content: Source
    location: str
    sweep: str
    backbone: BackboneRef | None = None


class Places:
    """Finds weights and data of the trials of one store, each once.

    Args:
        store: whose rows say where they were.
        given: looked at first.
    """

    def __init__(self, store: Store, given: Given | None = None) -> None:
        self._store, self._given = store, given or Given()
        self._found: dict[Wanted, str | ApetError] = {}
        self._first: dict[Wanted, str] = {}  # the id of the first trial that wants it
        self._read: dict[tuple[str, str], list[str]] = {}  # folders of the store's own sweeps

    def sources(self, trial: Trial, row: Mapping[str, Any]) -> tuple[Sources, list[str]]:
        """Where a trial's weights and data are, and which folders aren't found: for those stands what the row says.

        What comes as a package or from the hub may be here or where the trial runs: only :meth:`check` minds.
        """
        weights, data, *targets = wanted(trial, row)
        places, problems = [], []
        for one in (weights, data, *targets):
            self._first.setdefault(one, trial.trial_id)
            found = self._find(one)
            places.append(found if isinstance(found, str) else one.location)
            if isinstance(found, ApetError) and one.content.kind == "folder":
                problems.append(str(found))
        by_task = dict(zip((one.name for one in targets), places[2:], strict=True))
        return Sources(places[0], places[1], by_task), problems

    def check(self) -> None:
        """Make sure that all that was asked for so far is there, and that all that is given was of use.

        Raises:
            Problems: what isn't there, or has another content, each once, and how it differs.
        """
        if not self._first:
            return
        problems = [problem for given in self._given.folders() if (problem := self._useless(*given))]
        refused = {(what, name) for what, name, _ in self._given.folders()} if problems else set()
        for one, trial_id in self._first.items():
            found = self._found[one]
            if isinstance(found, ApetError) and (one.what, one.name) not in refused:
                problems.append(f"trial {trial_id}: {found}")
        if problems:
            raise Problems(problems, "what failed trials are to be given again; --where leaves trials out")

    def _find(self, one: Wanted) -> str | ApetError:
        if one not in self._found:
            self._found[one] = self._look(one)
        return self._found[one]

    def _look(self, one: Wanted) -> str | ApetError:
        """The first place that has the content, or why there is none."""
        if one.content.kind != "folder":
            place = one.location or location_of(one.content)
            return _fault(one.content, place) or place
        others: list[ApetError] = []  # of folders that are there, and hold something else
        for place in self._candidates(one):
            fault = _fault(one.content, place)
            if fault is None:
                return place
            if _folder(place).is_dir():
                others.append(fault)
        return _lost(one, others)

    def _candidates(self, one: Wanted) -> Iterator[str]:
        """Locations where it may be, the likeliest first."""
        given = self._given.data if one.what == DATA else self._given.weights
        for folder in given.get(one.name, ()):
            yield _whole(folder)
        if self._given.sweep is not None and (place := self._given.sweep.place_of(one.content)):
            yield place
        path = relative(one.location)
        if path is not None:
            yield from (below(base, path) for base in (*self._bases(), *self._as_run(one, path)))
        elif one.location:
            yield one.location
        shared = os.environ.get("APET_DATA", "")
        if shared and one.what == DATA:
            yield _whole(Path(shared) / one.name)

    def _bases(self) -> Iterator[Path]:
        """Folders that a sweep's relative paths may start from, now: what moved together is found from the store."""
        if self._given.sweep is not None:
            yield self._given.sweep.folder
        if self._store.folder is not None:
            yield from (self._store.folder, *self._store.folder.parents)
        yield Path.cwd()

    def _as_run(self, one: Wanted, path: str) -> Iterator[Path]:
        """Folders that the sweep lay in when it was run, by the store's copies of it, which have whole paths."""
        key = _KEYS[one.what]
        if (one.sweep, key) not in self._read:
            folders: list[str] = []
            with suppress(ApetError):  # a damaged copy names none
                for _, text in self._store.sweeps(one.sweep):
                    folders += folders_of(text, key)
            self._read[one.sweep, key] = list(dict.fromkeys(folders))
        end = "" if path == "." else f"/{path}"
        yield from (Path(whole.removesuffix(end)) for whole in self._read[one.sweep, key] if whole.endswith(end))

    def _useless(self, what: str, name: str, folder: Path) -> str | None:
        """Why a folder that is given by name is of no use, None where it is what some trial was given."""
        option, asked = f"--{what} {name}={folder}", [one for one in self._first if one.what == what]
        mine = [one for one in asked if one.name == name]
        if not mine:
            names = sorted({one.name for one in asked})
            return f"{option}: no trial that would run again needs it; {choices(name, names)}"
        if any(_fault(one.content, _whole(folder)) is None for one in mine):
            return None
        same = next((one.name for one in self._first if _fault(one.content, _whole(folder)) is None), None)
        found = f"it holds what trials were given as {same}" if same else _held(folder, mine[0])
        return f"{option}: not what trial {self._first[mine[0]]} was given, {_named(mine[0].content)}: {found}"


def wanted(trial: Trial, row: Mapping[str, Any]) -> list[Wanted]:
    """What a trial needs, and where its row says it was: weights, data, then the data of every transfer target."""
    sweep, targets = row["sweep"] or "", dict(row["transfer_sources"] or ())
    backbone, weights, data = trial.backbone, row["weights_source"] or "", row["data_source"] or ""
    return [
        Wanted(WEIGHTS, backbone.name, backbone.weights, weights, sweep, backbone),
        Wanted(DATA, trial.task.name, trial.task.data, data, sweep),
        *(Wanted(DATA, task.name, task.data, targets.get(task.name) or "", sweep) for task in trial.evaluate_on),
    ]


def _fault(content: Source, location: str) -> ApetError | None:
    """What is wrong with a location, None where it has the content."""
    try:
        verify(content, location)
    except ApetError as error:
        return error
    except OSError as error:
        return ApetError(f"{plainly(location)}: {error.strerror or error}; it must be readable")
    return None


def _lost(one: Wanted, others: Sequence[ApetError]) -> ApetError:
    """What to say of a folder that isn't found."""
    path, instead = relative(one.location), f"--{one.what} {one.name}=FOLDER, or --sweep FILE"
    if others:
        return ApetError(f"{others[0]}; if it lies elsewhere, say where: {instead}")
    if not one.location:
        where = f"its row doesn't say where its {one.what} of {one.name} was"
    elif path is None:
        where = f"{one.what} of {one.name}: {one.location} not found"
    else:
        where = (
            f"{one.what} of {one.name}: {path} not found, neither from the store's folder or one above, nor from the "
            "current folder, nor where it was"
        )
    return ApetError(f"{where}; restore what the trial was given, or say where it is now: {instead}")


def _held(folder: Path, one: Wanted) -> str:
    """What a folder holds that isn't what was wanted, as far as that helps to see how it differs."""
    if one.content.kind != "folder":
        return "a folder can't take its place"
    try:
        if one.what == DATA:
            files = list(data_files(folder).values())
        else:
            assert one.backbone is not None, "weights are some backbone's"
            have, shape = shape_of(folder, one.backbone.family, None), one.backbone.shape
            differ = [name for name in vars(shape) if getattr(have, name) != getattr(shape, name)]
            if differ:
                return ", ".join(f"{name} is {getattr(have, name)}, not {getattr(shape, name)}" for name in differ)
            files = list(weight_files(folder))
        listed = ", ".join(f"{file.name} of {file.stat().st_size} bytes" for file in files)
        return f"it holds {_named(Source('folder', '', folder_digest(files)))} ({listed})"
    except ApetError as error:
        return str(error)


def _named(content: Source) -> str:
    """Content in a few words."""
    if content.kind == "folder":
        return f"sha256 {content.version[:12]}"
    return f"a {content.kind} ({content.name} {content.version})"


def _folder(location: str) -> Path:
    return Path(location.partition(":")[2])


def _whole(folder: Path) -> str:
    return f"folder:{folder.expanduser().absolute()}"
