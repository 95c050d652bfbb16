"""A pack's rows, read or found in the cache, and kept warm: the next pack on the same task starts at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trials import tasks
from trials.pack import Pack
from trials.sources.folders import SPLITS
from trials.store.record import Record
from trials.store.scores import pack_scores
from trials.tasks.spec import Task
from trials.trial import TaskRef, Trial
from workers.backbone.load import Backbone
from workers.rows import cache, data
from workers.rows.encode import Dataset, Encoding, encode

KEPT = 4  # tasks in memory


@dataclass(frozen=True)
class PackData:
    """What a pack trains on, chooses by and reports on; ``columns`` of its rows in the store."""

    task: Task
    train: Dataset
    validation: Dataset
    test: Dataset
    targets: dict[str, Dataset]
    columns: Record

    @property
    def longest(self) -> int:
        """Positions of the longest row of all, other tasks' included."""
        return max(int(x.lengths.max()) for x in (self.train, self.validation, self.test, *self.targets.values()))


class WarmRows:
    """The rows of the last few packs."""

    def __init__(self) -> None:
        self._kept: dict[str, PackData] = {}

    def of(self, pack: Pack, backbone: Backbone) -> PackData:
        """The rows of a pack, encoded for its backbone; read only if they aren't warm.

        Raises:
            ApetError: rows that can't be read or encoded.
        """
        trial = pack.members[0].trial
        limits = (trial.training.max_input_length, trial.training.max_generated_length)
        key = repr((trial.backbone, trial.task, trial.evaluate_on, trial.labels, trial.head, limits, pack.sources))
        if key not in self._kept:
            found = _read(trial, pack, backbone)
            while len(self._kept) >= KEPT:
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = found
        return self._kept[key]

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()


def _read(trial: Trial, pack: Pack, backbone: Backbone) -> PackData:
    task, how = _encoding(trial, trial.task, backbone)
    train, validation, test = splits(task, trial.task, pack.sources.data, how)
    targets = {ref.name: _target(trial, ref, pack.sources.targets[ref.name], backbone) for ref in trial.evaluate_on}
    cut = [train.rows.truncated_in_training, *(x.rows.truncated for x in (validation, test, *targets.values()))]
    columns: Record = {
        "data_digest": data.splits_digest(train.rows.digest, validation.rows.digest, test.rows.digest),
        "train_rows": len(train),
        "validation_rows": len(validation),
        "test_rows": len(test),
        "truncated_rows": sum(cut),
        "metric": test.metric,
        "chance": 1 / len(how.label_texts) if how.family == "bert" else 0.0,
        "majority": test.majority,
        "majority_right": None if (right := test.majority_right) is None else pack_scores(right),
    }
    return PackData(task, train, validation, test, targets, columns)


def _target(trial: Trial, ref: TaskRef, location: str, backbone: Backbone) -> Dataset:
    """The test rows of another task, encoded as for a trial that trains on it: zero-shot scores compare with those."""
    task, how = _encoding(trial, ref, backbone)
    return splits(task, ref, location, how, ("test",))[0]


def _encoding(trial: Trial, ref: TaskRef, backbone: Backbone) -> tuple[Task, Encoding]:
    task, settings = tasks.get(ref.name), trial.training
    if ref == trial.task:
        lengths = settings.max_input_length, settings.max_generated_length
    else:
        lengths = task.max_input_length, task.max_generated_length
    return task, Encoding(task, trial.backbone.family, backbone.tokenizer, trial.labels, trial.head, *lengths)


def splits(task: Task, ref: TaskRef, location: str, how: Encoding, names: Sequence[str] = SPLITS) -> list[Dataset]:
    """Encoded splits, from the cache where all of them are there.

    Raises:
        ApetError: rows that can't be read or encoded.
    """
    keys = {name: cache.key(ref, task, location, name, how) for name in names}
    found = {name: encoded for name, key in keys.items() if (encoded := cache.load(key))}
    if len(found) < len(keys):
        rows = data.load_rows(task, ref, location)
        for name, key in keys.items():
            found[name] = encode(getattr(rows, name), how)
            if key == cache.key(ref, task, location, name, how):  # the files are still those that the key is of
                cache.save(key, found[name])
    return [Dataset(found[name], how) for name in names]
