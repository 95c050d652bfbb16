"""A pack's rows, read, encoded and kept warm: the next pack on the same task starts at once."""

from __future__ import annotations

from dataclasses import dataclass

from trials import tasks
from trials.pack import Pack
from trials.record import Record
from trials.tasks.spec import Task
from trials.trial import TaskRef, Trial
from workers import data
from workers.backbone import Backbone
from workers.batches import Dataset, encode

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


class Rows:
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
    task = tasks.get(trial.task.name)
    splits = data.load_rows(task, trial.task, pack.sources.data)
    train, validation, test = (
        _encode(trial, task, x, backbone) for x in (splits.train, splits.validation, splits.test)
    )
    targets = {ref.name: _target(trial, ref, pack.sources.targets[ref.name], backbone) for ref in trial.evaluate_on}
    columns: Record = {
        "data_digest": splits.digest,
        "train_rows": len(train),
        "validation_rows": len(validation),
        "test_rows": len(test),
        "truncated_rows": sum(x.truncated for x in (train, validation, test)),
        "metric": test.metric,
        "chance": 1 / len(test.label_texts) if trial.backbone.family == "bert" else 0.0,
        "majority": data.majority(test.labels),
    }
    return PackData(task, train, validation, test, targets, columns)


def _target(trial: Trial, ref: TaskRef, location: str, backbone: Backbone) -> Dataset:
    task = tasks.get(ref.name)
    return _encode(trial, task, data.load_rows(task, ref, location).test, backbone)


def _encode(trial: Trial, task: Task, rows: data.Rows, backbone: Backbone) -> Dataset:
    training = trial.training
    family, lengths = trial.backbone.family, (training.max_input_length, training.max_generated_length)
    return encode(rows, task, family, backbone.tokenizer, trial.labels, lengths[0], trial.head, lengths[1])
