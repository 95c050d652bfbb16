"""The answers of the untrained module, the frozen backbone with nothing in it: once for all trials that share it.

There are few of these files, and workers look one up by its name: whoever merges small files of a store leaves them.
"""

from __future__ import annotations

import logging

from trials.errors import ApetError
from trials.store.answers import UNTRAINED, Answered, untrained_table
from trials.store.files import Files
from trials.store.reading import Reader
from trials.store.seal import parquet

FOLDER = "answers/untrained"
_log = logging.getLogger(__name__)


def save(files: Files, key: str, task: str, answered: Answered) -> None:
    """Keep them; whoever has them too writes the same."""
    files.write(_path(key), parquet(untrained_table(key, task, answered)))


def load(reader: Reader, key: str, rows: int) -> Answered | None:
    """The answers to so many rows; None where there are none that can be read, or not to these."""
    try:
        table = reader.file(_path(key), UNTRAINED)
    except ApetError as error:
        _log.warning("the untrained module is scored anew: %s", error)
        return None
    return None if table is None else Answered.of(table, rows)


def _path(key: str) -> str:
    return f"{FOLDER}/{key}.parquet"
