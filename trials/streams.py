"""Independent named random streams, the same on every machine and with every version of numpy.

Bits come raw from a counter-based generator (Philox 4x64-10, Salmon et al., SC 2011) keyed by the
sha256 of the stream's name. What is made of the bits is written out here: no ``Generator`` method
decides anything, since those streams may change between numpy's versions.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from trials.canonical import canonical

Key = str | int
_WORDS_PER_COUNT = 4  # 64-bit words that Philox gives for one value of its counter


def words(n: int, *key: Key, offset: int = 0) -> NDArray[np.uint64]:
    """``n`` raw 64-bit words of the stream named by ``key``, the first ``offset`` skipped.

    Args:
        n: words to draw, 0 or more.
        key: name of the stream: seeds and purposes.
        offset: words to skip; costs nothing.
    """
    assert n >= 0, n
    assert offset >= 0, offset
    assert key, "a stream needs a name"
    name = hashlib.sha256(canonical(list(key)).encode()).digest()
    generator = np.random.Philox(key=int.from_bytes(name[:16], "little"))
    counts, skip = divmod(offset, _WORDS_PER_COUNT)
    generator.advance(counts)
    return generator.random_raw(skip + n)[skip:]


def permutation(n: int, *key: Key) -> NDArray[np.int64]:
    """A permutation of 0 … n-1: the stable argsort of the stream's first ``n`` words."""
    bits = words(n, *key)
    order = np.argsort(bits)  # the faster kind; it differs from the stable one where two words are equal
    ordered = bits[order]
    return np.argsort(bits, kind="stable") if (ordered[1:] == ordered[:-1]).any() else order


def uniform(n: int, *key: Key, offset: int = 0) -> NDArray[np.float64]:
    """``n`` numbers in [0, 1): the upper 53 bits of each word, divided by 2**53."""
    mantissas = (words(n, *key, offset=offset) >> np.uint64(11)).astype(np.float64)  # exact below 2**53
    return mantissas * np.float64(2.0**-53)


def normal(n: int, *key: Key) -> NDArray[np.float64]:
    """``n`` standard normal numbers by Box and Muller's transform of pairs of words.

    A smaller ``n`` gives a prefix of a larger one's numbers. Logarithm and cosine come from the
    platform and may differ in the last bit of a float64: round to float32 before use.
    """
    pairs = uniform(n + n % 2, *key).reshape(-1, 2)
    radius = np.sqrt(-2.0 * np.log(1.0 - pairs[:, 0]))
    angle = 2.0 * np.pi * pairs[:, 1]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)[:n]
