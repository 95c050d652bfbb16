"""The stream of batches: every row once an epoch, resumed anywhere, little padding."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from encodings_for_tests import TINY, dataset, encoding

from trials.errors import ApetError
from workers.rows.batches import Batch, eval_batches, stream
from workers.rows.data import Rows
from workers.rows.encode import Dataset, encode


def rows_of(batches: list[Batch]) -> list[tuple[int, ...]]:
    return [batch.rows for batch in batches]


@pytest.mark.parametrize("backbone", TINY)
def test_an_epoch_is_every_row_once_and_the_next_another_order(backbone: str) -> None:
    data = dataset(backbone)
    found = rows_of(list(islice(stream(data, 0, 8), 14)))
    first, second = found[:7], found[7:]
    for epoch in (first, second):
        assert sorted(i for rows in epoch for i in rows) == list(range(50))
    assert first != second
    assert rows_of(list(islice(stream(data, 1, 8), 7))) != first


@pytest.mark.parametrize("start", [0, 3, 7, 9])
def test_a_stream_goes_on_where_it_was(start: int) -> None:
    data = dataset("tiny-t5")
    whole = rows_of(list(islice(stream(data, 0, 8), 14)))
    assert rows_of(list(islice(stream(data, 0, 8, start), 14 - start))) == whole[start:]


@pytest.mark.parametrize("backbone", TINY)
def test_a_batch_is_as_wide_as_its_longest_row(backbone: str) -> None:
    data = dataset(backbone)
    for batch in (*islice(stream(data, 0, 8), 7), *eval_batches(data, 8)):
        mask = batch.tensors["attention_mask"]
        assert mask.sum(1).max() == mask.shape[1]
        edge = mask[:, -1] if backbone == "tiny-bloom" else mask[:, 0]
        assert edge.all()  # padding on the left for BLOOM, on the right elsewhere
    assert sorted(i for batch in eval_batches(data, 8) for i in batch.rows) == list(range(50))


@pytest.mark.parametrize("backbone", TINY)
def test_little_of_a_batch_is_padding(backbone: str) -> None:
    """Texts of 1 to 59 words in batches of 8: in a random order 38 % of the positions are padding."""
    how = encoding("rotten_tomatoes", backbone)
    lengths = np.random.default_rng(0).integers(1, 60, 800)
    data = Dataset(encode(Rows([("cat " * n,) for n in lengths], [0] * 800), how), how)
    for batches in (islice(stream(data, 0, 8), 100), eval_batches(data, 8)):
        masks = [batch.tensors["attention_mask"] for batch in batches]
        filled, positions = sum(int(m.sum()) for m in masks), sum(m.numel() for m in masks)
        assert 1 - filled / positions < 0.05


def test_no_rows_and_no_batch_are_errors() -> None:
    with pytest.raises(ApetError, match="both must be 1 or more"):
        next(stream(dataset("tiny-t5"), 0, 0))
