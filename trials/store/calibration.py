"""What workers have measured of pack sizes: seconds of one trial's step, by the trials that train together.

A measurement is a small JSON file, ``calibration/<weights>-<device>-<settings>.json``, in the store and in this
machine's cache: ``weights`` is the content of the backbone and its precision (``keys.warmth``, known before anything is
loaded), ``device`` the processor that it was measured on, ``settings`` a digest of all else that it holds for. The file
has all of it in plain words too. None of this is a result, and all of it may be deleted at any time: what is missing or
damaged is measured again. Of two workers that measure at once the last one's file stays.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

from trials import keys
from trials.canonical import canonical, digest
from trials.errors import ApetError
from trials.setup import Setup
from trials.sources.digests import cache_folder
from trials.store.files import Files
from trials.trial import Trial

FOLDER = "calibration"
VERSION = 1  # of the file
GAIN = 0.03  # what a larger pack has to save of a step to be worth it: small ones balance better at a sweep's end
STORE, CACHE = "store", "cache"  # places, in the order in which they are asked
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Conditions:
    """What a measurement holds for; it says nothing of another of these.

    Args:
        weights: key of the backbone's content and precision.
        device: cpu or cuda.
        processor: name of the CPU or the card; empty where it isn't known: any will do.
        threads: of the set-up.
        precision: fp32 or bf16.
        batch_size: rows of a batch; micro_batch: of them that go through at once at most, None for all.
        recompute: whether blocks are computed again on the way back.
        max_input_length, max_generated_length: tokens of a row at most, soft ones included.
        torch, apet: versions.
    """

    weights: str
    device: str
    processor: str
    threads: int | None
    precision: str
    batch_size: int
    micro_batch: int | None
    recompute: bool
    max_input_length: int
    max_generated_length: int
    torch: str
    apet: str

    @staticmethod
    def of(trial: Trial, setup: Setup, precision: str, processor: str) -> Conditions:
        """Those of packs of trials like this one.

        Args:
            trial: one of them.
            setup: theirs, its device resolved.
            precision: as resolved on the device.
            processor: the device's name.
        """
        how = trial.training
        return Conditions(
            weights=keys.warmth(trial.backbone.text, precision),
            device=setup.device,
            processor=processor,
            threads=setup.threads,
            precision=precision,
            batch_size=how.batch_size,
            micro_batch=setup.micro_batch,
            recompute=setup.recompute,
            max_input_length=how.max_input_length + (trial.method.tokens or 0),
            max_generated_length=how.max_generated_length,
            torch=_version("torch"),
            apet=_version("apet"),
        )

    @property
    def file(self) -> str:
        """The file's name; where the processor isn't known, a pattern: ``*`` stands for it."""
        place = re.sub("[^a-z0-9]+", "_", self.processor.lower()).strip("_") or "*"
        settings = digest(canonical({k: v for k, v in asdict(self).items() if k != "processor"}))[:10]
        return f"{self.weights}-{self.device}.{place}-{settings}.json"


@dataclass(frozen=True)
class Calibration:
    """Seconds of one trial's step, its share of its pack's, by the size of the pack.

    Args:
        conditions: what they hold for.
        cpu_s: of the training thread's CPU time, which other programs on the machine hardly change.
        wall_s: of a clock on the wall, which counts whatever else ran.
        clock: cpu or wall: which of the two is to be trusted.
    """

    conditions: Conditions
    cpu_s: Mapping[int, float]
    wall_s: Mapping[int, float]
    clock: str

    @property
    def seconds(self) -> Mapping[int, float]:
        """Those to be trusted."""
        return self.cpu_s if self.clock == "cpu" else self.wall_s

    @property
    def best(self) -> int:
        """The smallest size that takes hardly longer than the fastest: within :data:`GAIN` of it."""
        fastest = min(self.seconds.values())
        return min(size for size, taken in self.seconds.items() if taken * (1 - GAIN) <= fastest)

    def at(self, size: int) -> float:
        """Seconds at the measured size that is nearest in ratio."""
        return self.seconds[nearest(self.seconds, size)]

    def to_json(self) -> str:
        """The file."""
        return json.dumps({"version": VERSION, "best": self.best, **asdict(self)}, indent=1)

    @staticmethod
    def from_json(text: str | bytes) -> Calibration:
        """Read a file.

        Raises:
            ValueError: it is none.
        """
        try:
            data = json.loads(text)
            if data["version"] != VERSION or data["clock"] not in ("cpu", "wall"):
                raise ValueError(f"version {data['version']}, clock {data['clock']}")
            cpu_s, wall_s = (_seconds(data[name]) for name in ("cpu_s", "wall_s"))
            if cpu_s.keys() != wall_s.keys():
                raise ValueError("two clocks, and not the same sizes")
            return Calibration(Conditions(**data["conditions"]), cpu_s, wall_s, data["clock"])
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(repr(error)) from None


class Found(NamedTuple):
    """A measurement, and where it was: store or cache."""

    calibration: Calibration
    place: str


class Calibrations:
    """The measurements of a store, then those in this machine's cache.

    Args:
        store: the store's files; None: only the cache is asked.
    """

    def __init__(self, store: Files | None = None) -> None:
        self._places = {} if store is None else {STORE: store}
        try:
            folder = cache_folder()
            self._places |= {} if folder is None else {CACHE: Files(folder)}
        except ApetError as error:
            _log.warning("no cache of measured pack sizes: %s", error)

    def find(self, conditions: Conditions) -> Found | None:
        """What was measured under these conditions; of several processors, the one that wants the smallest packs."""
        for place, files in self._places.items():
            read = [one for path in _paths(files, conditions) if (one := _read(files, path, conditions)) is not None]
            if read:
                return Found(min(read, key=lambda one: one.best), place)
        return None

    def keep(self, calibration: Calibration) -> None:
        """Write it to all places; one that can't be written only costs another measurement."""
        for place, files in self._places.items():
            try:
                files.write(f"{FOLDER}/{calibration.conditions.file}", calibration.to_json().encode())
            except ApetError as error:
                _log.warning("the measured pack size isn't kept in the %s: %s", place, error)


def nearest(sizes: Iterable[int], size: int) -> int:
    """Of some pack sizes the one that is nearest in ratio, of equally near ones the smaller."""
    return min(sizes, key=lambda one: (abs(math.log(one / size)), one))


def _paths(files: Files, conditions: Conditions) -> list[str]:
    """Files that may hold what is looked for."""
    name = conditions.file
    if "*" not in name:
        return [f"{FOLDER}/{name}"]
    start, _, end = name.partition("*")
    try:
        return [
            x.path for x in files.listing(FOLDER) if x.path.startswith(f"{FOLDER}/{start}") and x.path.endswith(end)
        ]
    except ApetError as error:
        _log.warning("measured pack sizes can't be listed: %s", error)
        return []


def _read(files: Files, path: str, asked: Conditions) -> Calibration | None:
    """A file's measurement; None where there is no file, or a torn or foreign one."""
    try:
        found = Calibration.from_json(files.read(path))
        if replace(found.conditions, processor=asked.processor) != asked:
            raise ValueError("it is of other conditions than its name")
        return found
    except FileNotFoundError:
        return None
    except (ApetError, ValueError) as error:
        _log.warning("%s is ignored, it is no measured pack size: %s", files.address(path), error)
        return None


def _seconds(data: Mapping[str, float]) -> dict[int, float]:
    """Seconds by pack size.

    Raises:
        ValueError: a size that is none, or seconds that are none.
    """
    found = {int(size): float(taken) for size, taken in data.items()}
    if not found or not all(size >= 1 and 0 < taken < math.inf for size, taken in found.items()):
        raise ValueError(f"seconds by pack size: {data}")
    return dict(sorted(found.items()))


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
