"""Failed trials whose data is to be mended: mended data makes new trials, so a new attempt is no way out of these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

COLUMNS = ("trial_id", "state", "error_class", "error_message", "data_source", "transfer_sources")


def of_data(row: Mapping[str, Any]) -> bool:
    """Whether a row's error is one of ours that names a folder of its trial's data.

    Args:
        row: has :data:`COLUMNS`.
    """
    places = [row["data_source"] or "", *dict(row["transfer_sources"] or {}).values()]
    folders = [place.removeprefix("folder:") for place in places if place.startswith("folder:")]
    return row["error_class"] == "ApetError" and any(folder in row["error_message"] for folder in folders)
