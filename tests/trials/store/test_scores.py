"""Scores of rows in a few bytes."""

import numpy as np
import pytest

from trials.store.scores import pack_scores, unpack_scores


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 500])
def test_zeros_and_ones_are_bits_and_come_back(rows: int) -> None:
    scores = (np.arange(rows) % 3 == 0).astype(float)
    data = pack_scores(scores)
    assert data == np.packbits(scores.astype(bool)).tobytes()
    assert unpack_scores(data, rows).tolist() == scores.tolist()


def test_other_scores_are_float16() -> None:
    scores = [0.0, 1.0, 1 / 3]
    data = pack_scores(scores)
    assert data == np.array(scores, "<f2").tobytes()
    assert unpack_scores(data, 3) == pytest.approx(scores, abs=2**-12)
    assert unpack_scores(data, 3).dtype == np.float64


def test_bytes_of_other_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="1 bytes are no scores of 9 rows: 2 as bits, 18 as float16"):
        unpack_scores(pack_scores([1.0] * 8), 9)
