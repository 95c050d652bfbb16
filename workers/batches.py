"""Encoded rows, and the endless stream of batches that every trial of a pack sees.

The stream is a function of (train seed, rows, tokenizer, maximum length, batch size) alone: per epoch a permutation,
sorted by length inside windows, the batches shuffled. Batches are padded to their own longest row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trials import streams
from trials.errors import ApetError
from trials.tasks.spec import Task
from trials.trial import canonical
from workers.data import Rows, class_labels
from workers.heads import label_word_ids, label_words
from workers.texts import Template

WINDOW = 50  # batches that are sorted by length together
IGNORED = -100  # no loss on this target


@dataclass(frozen=True)
class Encoded:
    """One row as tokens.

    Args:
        input_ids: the prompt, or BERT's text or pair, special tokens included.
        label: index of the right answer.
        target_ids: families that generate: the label word and EOS.
        token_types: BERT's second text is 1; None where there is one text.
        mask_position: BERT's verbalizer: where the label word is asked for.
    """

    input_ids: list[int]
    label: int
    target_ids: list[int]
    token_types: list[int] | None = None
    mask_position: int | None = None


@dataclass(frozen=True)
class Batch:
    """Rows side by side, b rows of s positions.

    Args:
        tensors: ``input_ids`` and ``attention_mask`` [b, s], ``class_labels`` [b]; BERT: ``mask_position`` [b]
            (verbalizer), ``token_type_ids`` [b, s] (pairs); T5: ``labels`` [b, t]; BLOOM while training:
            ``labels`` [b, s], its inputs being prompt and target. Padding is on the left for BLOOM, on the right
            elsewhere, and -100 in ``labels`` where nothing is asked.
        rows: indices into the data set.
        tokens: those of input and target that are no padding.
    """

    tensors: Mapping[str, Tensor]
    rows: tuple[int, ...]
    tokens: int


@dataclass(frozen=True)
class Dataset:
    """The encoded rows of one split.

    Args:
        rows: in the source's order.
        family: bert, bloom or t5: decides padding and targets.
        pad_id: token of the padding.
        truncated: rows whose text was cut.
        order_key: what the order of batches depends on, less train seed and batch size.
        label_texts: per label the text that a generated answer must be.
        metric: what a score is.
        secondary: names of further metrics.
        max_generated_length: tokens of an answer, EOS excluded.
    """

    rows: Sequence[Encoded]
    family: str
    pad_id: int
    truncated: int
    order_key: str
    label_texts: tuple[str, ...]
    metric: str
    secondary: tuple[str, ...]
    max_generated_length: int

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Positions per row; BLOOM's include its target."""
        own = (len(r.input_ids) + (len(r.target_ids) if self.family == "bloom" else 0) for r in self.rows)
        return np.fromiter(own, np.int64, len(self.rows))

    @property
    def labels(self) -> list[int]:
        """Per row the index of the right answer."""
        return [row.label for row in self.rows]


def encode(
    rows: Rows,
    task: Task,
    family: str,
    tokenizer: Any,
    labels: str = "own",
    max_input_length: int | None = None,
    head: str | None = None,
    max_generated_length: int | None = None,
) -> Dataset:
    """Tokenise the rows of one split.

    Args:
        rows: as ``workers.data`` gives them.
        task: prompts and label words; its lengths are the default of the two limits.
        family: bert, bloom or t5.
        tokenizer: of the backbone.
        labels: own or unified.
        max_input_length: tokens of an input, the prompt included, a target not.
        head: encoders: verbalizer, frozen or trained.
        max_generated_length: tokens of an answer.

    Raises:
        ApetError: a label word that isn't one token, a length with no room for text.
    """
    limit = max_input_length or task.max_input_length
    template = Template(task, family, head, tokenizer, limit)
    tokens, truncated = template.encode(rows.texts)
    answers = class_labels(task, rows, labels)
    words = label_word_ids(task, labels, family, tokenizer) if not template.plain else []
    masked = family == "bert" and not template.plain
    encoded = [
        Encoded(
            input_ids=t.ids,
            label=answer,
            target_ids=[] if family == "bert" else [words[answer], tokenizer.eos_token_id],
            token_types=t.types,
            mask_position=t.ids.index(tokenizer.mask_token_id) if masked else None,
        )
        for t, answer in zip(tokens, answers, strict=True)
    ]
    return Dataset(
        rows=encoded,
        family=family,
        pad_id=int(tokenizer.pad_token_id),
        truncated=truncated,
        order_key=f"{rows.digest} {_fingerprint(tokenizer)} {limit}",
        label_texts=label_words(task, labels, family),
        metric=task.metric,
        secondary=task.secondary,
        max_generated_length=max_generated_length or task.max_generated_length,
    )


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
        for rows in _epoch(data, train_seed, batch_size, epoch)[skip:]:
            yield collate(data, rows, train=True)
        epoch, skip = epoch + 1, 0


def eval_batches(data: Dataset, batch_size: int) -> Iterator[Batch]:
    """Every row once, sorted by length; ``Batch.rows`` says which. BLOOM's inputs are the prompts alone."""
    order = np.argsort([len(row.input_ids) for row in data.rows], kind="stable").tolist()
    for at in range(0, len(order), batch_size):
        yield collate(data, order[at : at + batch_size], train=False)


def collate(data: Dataset, indices: Sequence[int], *, train: bool) -> Batch:
    """Rows side by side, padded to the longest of them."""
    rows = [data.rows[i] for i in indices]
    whole = data.family == "bloom" and train
    inputs = [row.input_ids + row.target_ids if whole else row.input_ids for row in rows]
    left = data.family == "bloom"
    tensors = {
        "input_ids": _pad(inputs, data.pad_id, left),
        "attention_mask": _pad([[1] * len(ids) for ids in inputs], 0, left),
        "class_labels": torch.tensor([row.label for row in rows]),
    }
    tokens = sum(map(len, inputs))
    types = [row.token_types for row in rows if row.token_types is not None]
    masks = [row.mask_position for row in rows if row.mask_position is not None]
    if types:
        tensors["token_type_ids"] = _pad(types, 0, left)
    if masks:
        tensors["mask_position"] = torch.tensor(masks)
    if whole:
        asked = [[IGNORED] * len(row.input_ids) + row.target_ids for row in rows]
        tensors["labels"] = _pad(asked, IGNORED, left)
    elif data.family == "t5":
        tensors["labels"] = _pad([row.target_ids for row in rows], IGNORED, left)
        tokens += sum(len(row.target_ids) for row in rows)
    return Batch(tensors, tuple(indices), tokens)


def _epoch(data: Dataset, train_seed: int, batch_size: int, epoch: int) -> list[list[int]]:
    """The batches of one epoch, as row indices; the last one of a window may be smaller only at the end."""
    key = (train_seed, "order", data.order_key, batch_size, epoch)
    order = streams.permutation(len(data), *key, "rows")
    width = WINDOW * batch_size
    windows = [order[at : at + width] for at in range(0, len(order), width)]
    ordered = np.concatenate([w[np.argsort(data.lengths[w], kind="stable")] for w in windows])
    batches = [ordered[at : at + batch_size].tolist() for at in range(0, len(ordered), batch_size)]
    return [batches[i] for i in streams.permutation(len(batches), *key, "batches")]


def _pad(rows: Sequence[Sequence[int]], value: int, left: bool) -> Tensor:
    """[b, longest] int64."""
    width = max(map(len, rows))
    filled = np.full((len(rows), width), value, np.int64)
    for i, row in enumerate(rows):
        filled[i, width - len(row) if left else 0 : width if left else len(row)] = row
    return torch.from_numpy(filled)


def _fingerprint(tokenizer: Any) -> str:
    """What a tokenizer is: 20 hex digits over its vocabulary."""
    vocabulary = canonical(sorted(tokenizer.get_vocab().items()))
    return hashlib.sha256(vocabulary.encode()).hexdigest()[:20]
