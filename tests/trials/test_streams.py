"""Named random streams: fixed for ever, independent, addressable."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trials import streams

KEYS = st.lists(st.one_of(st.integers(0, 2**63), st.text(max_size=8)), min_size=1, max_size=4)


def test_words_are_philox_keyed_by_sha256() -> None:
    """The definition, without our code: Philox 4x64-10, key = the first 16 bytes of sha256 of the name's JSON."""
    key = np.frombuffer(hashlib.sha256(b'[3,"add","units"]').digest()[:16], "<u8")
    expected = np.random.Philox(key=key).random_raw(9)
    np.testing.assert_array_equal(streams.words(9, 3, "add", "units"), expected)


def test_fixed_values() -> None:
    """Streams enter identity: these numbers never change."""
    assert streams.words(3, 0, "a").tolist() == [5134497190836794701, 12493660480607482070, 14604673265469593985]
    assert streams.permutation(8, 0, "a").tolist() == [7, 5, 0, 4, 6, 1, 3, 2]
    assert [x.hex() for x in streams.uniform(3, 0, "a").tolist()] == [
        "0x1.1d0597f72045cp-2",
        "0x1.5ac4cc0695e3ep-1",
        "0x1.955c71e981eb3p-1",
    ]
    assert [float(x).hex() for x in streams.normal(3, 0, "a").astype(np.float32)] == [
        "-0x1.6ce3760000000p-2",
        "-0x1.7321b00000000p-1",
        "0x1.5ef6180000000p-4",
    ]


@settings(max_examples=50, deadline=None)
@given(KEYS, st.integers(0, 300), st.integers(0, 300))
def test_offset_skips_words(key: list[str | int], offset: int, n: int) -> None:
    whole = streams.words(offset + n, *key)
    np.testing.assert_array_equal(streams.words(n, *key, offset=offset), whole[offset:])
    np.testing.assert_array_equal(streams.uniform(n, *key, offset=offset), streams.uniform(offset + n, *key)[offset:])


@settings(max_examples=50, deadline=None)
@given(KEYS, KEYS)
def test_streams_of_different_names_differ(one: list[str | int], other: list[str | int]) -> None:
    same = [(type(k), k) for k in one] == [(type(k), k) for k in other]
    assert (streams.words(4, *one).tolist() == streams.words(4, *other).tolist()) == same


@pytest.mark.parametrize(
    ("one", "other"), [((1,), ("1",)), ((1, 2), (12,)), (("a", "b"), ("ab",)), ((0, "a"), ("a", 0))]
)
def test_names_are_never_glued_together(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    assert streams.words(4, *one).tolist() != streams.words(4, *other).tolist()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2000), KEYS)
def test_permutation_is_the_stable_argsort_of_words(n: int, key: list[str | int]) -> None:
    expected = sorted(range(n), key=streams.words(n, *key).tolist().__getitem__)
    assert streams.permutation(n, *key).tolist() == expected


def test_permutation_with_equal_words_is_stable(monkeypatch: pytest.MonkeyPatch) -> None:
    few = streams.words(5000, "few") % np.uint64(7)
    monkeypatch.setattr(streams, "words", lambda n, *key: few[:n])
    assert streams.permutation(5000, 0).tolist() == np.argsort(few, kind="stable").tolist()


def test_uniform_and_normal_have_their_moments() -> None:
    n = 200_000
    flat = streams.uniform(n, "moments")
    assert flat.min() >= 0
    assert flat.max() < 1
    assert abs(flat.mean() - 0.5) < 5 * (1 / 12 / n) ** 0.5
    bell = streams.normal(n, "moments")
    assert abs(bell.mean()) < 5 * n**-0.5
    assert abs(bell.std() - 1) < 5 * (2 * n) ** -0.5
    assert abs(np.corrcoef(bell[::2], bell[1::2])[0, 1]) < 5 * (n / 2) ** -0.5


@pytest.mark.parametrize("n", [0, 1, 2, 7])
def test_normal_is_nested(n: int) -> None:
    np.testing.assert_array_equal(streams.normal(n, "z"), streams.normal(8, "z")[:n])
