"""Rows as tokens: flat arrays, kept as an Arrow table, so that a split of any size opens at once."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trials.canonical import canonical
from trials.sources.checks import Answer


@dataclass(frozen=True, eq=False)
class Ragged:
    """Rows of unequal length, end to end: row i is ``values[offsets[i]:offsets[i + 1]]``."""

    values: NDArray[np.int32]
    offsets: NDArray[np.int64]

    @staticmethod
    def of(rows: Iterable[Sequence[int]]) -> Ragged:
        """From lists."""
        kept = list(rows)
        offsets = np.concatenate([[0], np.cumsum([len(row) for row in kept], dtype=np.int64)])
        return Ragged(np.fromiter(chain.from_iterable(kept), np.int32, int(offsets[-1])), offsets)

    @staticmethod
    def from_arrow(column: pa.ChunkedArray) -> Ragged:
        """From a column of lists; copies nothing where it is one chunk."""
        lists = column.combine_chunks()
        lists = lists.chunk(0) if isinstance(lists, pa.ChunkedArray) else lists
        return Ragged(lists.values.to_numpy(), lists.offsets.to_numpy())

    def to_arrow(self) -> pa.Array:
        """As an array of lists."""
        return pa.LargeListArray.from_arrays(pa.array(self.offsets, pa.int64()), pa.array(self.values, pa.int32()))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> NDArray[np.int32]:
        return self.values[self.offsets[i] : self.offsets[i + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens per row."""
        return np.diff(self.offsets)


@dataclass(frozen=True, eq=False)
class Encoded:
    """The rows of one split as tokens.

    Args:
        inputs: the prompt, or BERT's text or pair, special tokens included.
        targets: families that generate: the label word and EOS, or the target's text; BERT: empty.
        answers: per row the index of the right label, or the texts that are right.
        types: BERT's second text is 1; None where there is one text.
        masks: BERT's verbalizer: where the label word is asked for, [n]; None elsewhere.
        digest: of the rows that were encoded.
        truncated: rows whose input was cut.
        truncated_in_training: rows whose input or target was cut: a target is read in training alone, scores
            compare with the whole text.
    """

    inputs: Ragged
    targets: Ragged
    answers: Sequence[Answer]
    types: Ragged | None
    masks: NDArray[np.int32] | None
    digest: str
    truncated: int
    truncated_in_training: int

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def checksum(self) -> int:
        """CRC-32 of tokens and answers: Arrow files have none."""
        lists = [part for part in (self.inputs, self.targets, self.types) if part is not None]
        arrays = [array for part in lists for array in (part.values, part.offsets)]
        state = zlib.crc32(canonical(list(self.answers)).encode())
        for array in (*arrays, *([] if self.masks is None else [self.masks])):
            state = zlib.crc32(np.ascontiguousarray(array).data, state)
        return state

    def to_arrow(self) -> pa.Table:
        """As a table; what isn't a column is in the metadata of its schema."""
        texts = bool(self.answers) and isinstance(self.answers[0], tuple)
        columns = {
            "inputs": self.inputs.to_arrow(),
            "targets": self.targets.to_arrow(),
            "answers": pa.array(self.answers, pa.list_(pa.string()) if texts else pa.int32()),
        }
        if self.types is not None:
            columns["types"] = self.types.to_arrow()
        if self.masks is not None:
            columns["masks"] = pa.array(self.masks, pa.int32())
        facts = {"checksum": self.checksum, **{name: getattr(self, name) for name in _FACTS}}
        return pa.table(columns).replace_schema_metadata({"apet": json.dumps(facts)})

    @staticmethod
    def from_arrow(table: pa.Table) -> Encoded:
        """From :meth:`to_arrow`.

        Raises:
            KeyError, ValueError: another table, or one that was damaged.
        """
        facts = json.loads(table.schema.metadata[b"apet"])
        answers = table["answers"].to_pylist()
        names = table.column_names
        encoded = Encoded(
            inputs=Ragged.from_arrow(table["inputs"]),
            targets=Ragged.from_arrow(table["targets"]),
            answers=[tuple(a) if isinstance(a, list) else a for a in answers],
            types=Ragged.from_arrow(table["types"]) if "types" in names else None,
            masks=table["masks"].to_numpy() if "masks" in names else None,
            **{name: facts[name] for name in _FACTS},
        )
        if encoded.checksum != facts["checksum"]:
            raise ValueError("not what was written")
        return encoded


_FACTS = ("digest", "truncated", "truncated_in_training")
