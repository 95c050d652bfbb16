"""The endless stream of batches that every trial of a pack sees.

The stream is a function of (train seed, rows, tokenizer, maximum length, batch size) alone: per epoch a permutation,
sorted by length inside windows, the batches shuffled. Batches are padded to their own longest row; on a GPU to the next
:data:`BUCKET`, with the same numbers to rounding.
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
from workers.gang.gang import ALONE, Gang
from workers.rows.encode import Dataset

WINDOW = 50  # batches that are sorted by length together
BUCKET = 16  # positions: a text of up to 128 tokens has one of 8 widths (to be measured, with the graphs it is for)
IGNORED = -100  # no loss on this target


@dataclass(frozen=True)
class Batch:
    """Rows side by side, b rows of s positions.

    Args:
        tensors: ``input_ids`` and ``attention_mask`` [b, s]; where the task has labels, ``class_labels`` [b]; BERT:
            ``mask_position`` [b] (verbalizer), ``token_type_ids`` [b, s] (pairs); T5: ``labels`` [b, t]; BLOOM while
            training: ``labels`` [b, s], its inputs being prompt and target. Padding is on the left for BLOOM, on the
            right elsewhere, and -100 in ``labels`` where nothing is asked; where there are labels ``target_at`` [n],
            the indices of all others in the flat ``labels``.
        rows: indices into the data set.
        tokens: those of input and target that are no padding.
        asked: of every row how much the mean of a loss is over: its target tokens, or 1 for its label. Read off the
            tensors by default, while they are where that takes no waiting.
    """

    tensors: Mapping[str, Tensor]
    rows: tuple[int, ...]
    tokens: int
    asked: Sequence[int] = ()

    def __post_init__(self) -> None:
        if not self.asked:
            labels = self.tensors.get("labels")
            asked = [1] * len(self.rows) if labels is None else labels.ne(IGNORED).sum(1).tolist()
            object.__setattr__(self, "asked", asked)


def bucket(device: torch.device) -> int:
    """The number whose multiples are the widths of training batches.

    On a GPU there are to be few shapes, so that a step can be captured once for each, by CUDA graphs or
    ``torch.compile``; nothing captures it yet. On a CPU every position costs its time, and bits stay as they are.
    """
    return BUCKET if device.type == "cuda" else 1


def stream(data: Dataset, train_seed: int, batch_size: int, start: int = 0, *, multiple: int = 1) -> Iterator[Batch]:
    """The endless training batches, from step ``start`` on: the same as skipping the first ``start``.

    Args:
        multiple: widths are multiples of it, but no batch is wider than the longest row of all.

    Raises:
        ApetError: no rows, or a batch size below 1.
    """
    if batch_size < 1 or not len(data):
        raise ApetError(f"batch_size {batch_size} over {len(data)} rows: both must be 1 or more")
    per_epoch = -(-len(data) // batch_size)
    epoch, skip = divmod(start, per_epoch)
    while True:
        for rows in epoch_order(data, train_seed, batch_size, epoch)[skip:]:
            yield collate(data, rows, train=True, multiple=multiple)
        epoch, skip = epoch + 1, 0


def parts(batch: Batch, rows: int, gang: Gang = ALONE) -> list[tuple[dict[str, Tensor], float]]:
    """This rank's part of a batch, at most ``rows`` rows at a time, padding kept, each with its share.

    The losses are means over rows, or over target tokens where there are targets: with the shares of what the whole
    batch's is the mean over as factors, the losses and gradients of all parts of all ranks add up to its own.
    """
    whole = sum(batch.asked)
    cuts = cut(len(batch.rows), rows, gang)
    return [(part(batch, c), sum(batch.asked[c]) / whole if counts else 0.0) for c, counts in cuts]


def cut(n: int, rows: int, gang: Gang = ALONE) -> list[tuple[slice, bool]]:
    """Of ``n`` rows this rank's, at most ``rows`` at a time, and whether they count.

    Ranks have contiguous rows, as evenly as can be, and all have as many passes, for they may need each other in each:
    one that has fewer rows passes the first of all once more, which counts for nothing.
    """
    start, stop = (n * rank // gang.ranks for rank in (gang.rank, gang.rank + 1))
    mine = [(slice(at, min(at + rows, stop)), True) for at in range(start, stop, rows)]
    passes = -(-most_rows(n, gang) // rows)
    return mine + [(slice(0, 1), False)] * (passes - len(mine))


def most_rows(n: int, gang: Gang) -> int:
    """Of ``n`` rows as many as any rank has."""
    return -(-n // gang.ranks)


def part(batch: Batch, rows: slice) -> dict[str, Tensor]:
    """The tensors of some rows."""
    tensors = {name: x[rows] for name, x in batch.tensors.items() if name != "target_at"}
    if "target_at" in batch.tensors:
        before, width = sum(batch.asked[: rows.start]), tensors["labels"].shape[1]
        at = batch.tensors["target_at"][before : before + sum(batch.asked[rows])]
        tensors["target_at"] = at - rows.start * width
    return tensors


def eval_order(data: Dataset) -> list[int]:
    """Every row once, sorted by length."""
    order: list[int] = np.argsort(data.rows.inputs.lengths, kind="stable").tolist()
    return order


def eval_batches(data: Dataset, batch_size: int) -> Iterator[Batch]:
    """All rows in that order; ``Batch.rows`` says which. BLOOM's inputs are the prompts alone."""
    order = eval_order(data)
    for at in range(0, len(order), batch_size):
        yield collate(data, order[at : at + batch_size], train=False)


def collate(data: Dataset, indices: Sequence[int], *, train: bool, multiple: int = 1) -> Batch:
    """Rows side by side, padded to the longest of them, or to the next multiple (see :func:`stream`)."""
    rows, family, pad = data.rows, data.how.family, int(data.how.tokenizer.pad_token_id)
    left = family == "bloom"
    whole = left and train
    prompts, targets = ([part[i] for i in indices] for part in (rows.inputs, rows.targets))
    inputs = [np.concatenate(both) for both in zip(prompts, targets, strict=True)] if whole else prompts
    width = _width(inputs, multiple, data.lengths)
    tensors = {
        "input_ids": _pad(inputs, pad, width, left),
        "attention_mask": _pad([np.ones_like(ids) for ids in inputs], 0, width, left),
    }
    tokens = sum(map(len, inputs))
    if data.how.task.labels:
        tensors["class_labels"] = torch.tensor([rows.answers[i] for i in indices])
    if rows.types is not None:
        tensors["token_type_ids"] = _pad([rows.types[i] for i in indices], 0, width, left)
    if rows.masks is not None:
        tensors["mask_position"] = torch.from_numpy(rows.masks[list(indices)].astype(np.int64))
    if whole:
        asked = [np.concatenate([np.full_like(p, IGNORED), t]) for p, t in zip(prompts, targets, strict=True)]
        tensors["labels"] = _pad(asked, IGNORED, width, left)
    elif family == "t5":
        tensors["labels"] = _pad(targets, IGNORED, _width(targets, multiple, rows.targets.lengths), left)
        tokens += sum(map(len, targets))
    if "labels" in tensors:
        tensors["target_at"] = tensors["labels"].flatten().ne(IGNORED).nonzero().flatten()
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


def _width(rows: Sequence[NDArray[np.int32]], multiple: int, lengths: NDArray[np.int64]) -> int:
    """Of the longest row, or of the next multiple, but no more than the longest of all rows' ``lengths`` needs."""
    longest = max(map(len, rows))
    return longest if multiple == 1 else max(longest, min(-(-longest // multiple) * multiple, int(lengths.max())))


def _pad(rows: Sequence[NDArray[np.int32]], value: int, width: int, left: bool) -> Tensor:
    """[b, width] int64."""
    filled = np.full((len(rows), width), value, np.int64)
    for i, row in enumerate(rows):
        filled[i, width - len(row) if left else 0 : width if left else len(row)] = row
    return torch.from_numpy(filled)
