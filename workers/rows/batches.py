"""The endless stream of batches that every trial of a pack sees.

The stream is a function of (train seed, rows, tokenizer, maximum length, batch size) alone: per epoch a permutation,
sorted by length inside windows, the batches shuffled. Batches are padded to their own longest row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trials import streams
from trials.errors import ApetError
from workers.rows.encode import Dataset

WINDOW = 50  # batches that are sorted by length together
IGNORED = -100  # no loss on this target


@dataclass(frozen=True)
class Batch:
    """Rows side by side, b rows of s positions.

    Args:
        tensors: ``input_ids`` and ``attention_mask`` [b, s]; where the task has labels, ``class_labels`` [b]; BERT:
            ``mask_position`` [b] (verbalizer), ``token_type_ids`` [b, s] (pairs); T5: ``labels`` [b, t]; BLOOM while
            training: ``labels`` [b, s], its inputs being prompt and target. Padding is on the left for BLOOM, on the
            right elsewhere, and -100 in ``labels`` where nothing is asked.
        rows: indices into the data set.
        tokens: those of input and target that are no padding.
    """

    tensors: Mapping[str, Tensor]
    rows: tuple[int, ...]
    tokens: int


def stream(data: Dataset, train_seed: int, batch_size: int, start: int = 0) -> Iterator[Batch]:
    """The endless training batches, from step ``start`` on: the same as skipping the first ``start``.

    Raises:
        ApetError: no rows, or a batch size below 1.
    """
    if batch_size < 1 or not len(data):
        raise ApetError(f"batch_size {batch_size} over {len(data)} rows: both must be 1 or more")
    per_epoch = -(-len(data) // batch_size)
    epoch, skip = divmod(start, per_epoch)
    while True:
        for rows in epoch_order(data, train_seed, batch_size, epoch)[skip:]:
            yield collate(data, rows, train=True)
        epoch, skip = epoch + 1, 0


def parts(batch: Batch, rows: int) -> list[tuple[dict[str, Tensor], float]]:
    """A batch in parts of at most ``rows`` rows, padding kept, each with its share of what a loss is the mean over.

    The losses are means over rows, or over target tokens where there are targets: with these shares as factors the
    parts' losses, and their gradients, add up to those of the whole batch.
    """
    asked = batch.tensors["labels"].ne(IGNORED).sum(1) if "labels" in batch.tensors else torch.ones(len(batch.rows))
    cuts = [slice(at, at + rows) for at in range(0, len(batch.rows), rows)]
    return [
        ({name: x[cut] for name, x in batch.tensors.items()}, float(asked[cut].sum() / asked.sum())) for cut in cuts
    ]


def eval_batches(data: Dataset, batch_size: int) -> Iterator[Batch]:
    """Every row once, sorted by length; ``Batch.rows`` says which. BLOOM's inputs are the prompts alone."""
    order = np.argsort(data.rows.inputs.lengths, kind="stable").tolist()
    for at in range(0, len(order), batch_size):
        yield collate(data, order[at : at + batch_size], train=False)


def collate(data: Dataset, indices: Sequence[int], *, train: bool) -> Batch:
    """Rows side by side, padded to the longest of them."""
    rows, family, pad = data.rows, data.how.family, int(data.how.tokenizer.pad_token_id)
    left = family == "bloom"
    whole = left and train
    prompts, targets = ([part[i] for i in indices] for part in (rows.inputs, rows.targets))
    inputs = [np.concatenate(both) for both in zip(prompts, targets, strict=True)] if whole else prompts
    tensors = {
        "input_ids": _pad(inputs, pad, left),
        "attention_mask": _pad([np.ones_like(ids) for ids in inputs], 0, left),
    }
    tokens = sum(map(len, inputs))
    if data.how.task.labels:
        tensors["class_labels"] = torch.tensor([rows.answers[i] for i in indices])
    if rows.types is not None:
        tensors["token_type_ids"] = _pad([rows.types[i] for i in indices], 0, left)
    if rows.masks is not None:
        tensors["mask_position"] = torch.from_numpy(rows.masks[list(indices)].astype(np.int64))
    if whole:
        asked = [np.concatenate([np.full_like(p, IGNORED), t]) for p, t in zip(prompts, targets, strict=True)]
        tensors["labels"] = _pad(asked, IGNORED, left)
    elif family == "t5":
        tensors["labels"] = _pad(targets, IGNORED, left)
        tokens += sum(map(len, targets))
    return Batch(tensors, tuple(indices), tokens)


def epoch_order(data: Dataset, train_seed: int, batch_size: int, epoch: int) -> list[list[int]]:
    """The batches of one epoch, as row indices; the last one of a window may be smaller only at the end."""
    key = (train_seed, "order", data.order_key, batch_size, epoch)
    order = streams.permutation(len(data), *key, "rows")
    width = WINDOW * batch_size
    windows = [order[at : at + width] for at in range(0, len(order), width)]
    ordered = np.concatenate([w[np.argsort(data.lengths[w], kind="stable")] for w in windows])
    batches = [ordered[at : at + batch_size].tolist() for at in range(0, len(ordered), batch_size)]
    return [batches[i] for i in streams.permutation(len(batches), *key, "batches")]


def _pad(rows: Sequence[NDArray[np.int32]], value: int, left: bool) -> Tensor:
    """[b, longest] int64."""
    width = max(map(len, rows))
    filled = np.full((len(rows), width), value, np.int64)
    for i, row in enumerate(rows):
        filled[i, width - len(row) if left else 0 : width if left else len(row)] = row
    return torch.from_numpy(filled)
