"""Commands that run one trial alone, as `apet show` prints them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trials.errors import ApetError
from trials.failures import BAD_INPUT
from trials.pack import superseded

if TYPE_CHECKING:
    from trials.store.store import Store
    from trials.sweep.sweep import Sweep
    from trials.trial import Trial


def failed_by_input(row: Mapping[str, Any] | None) -> bool:
    """Whether a trial failed by its weights or data."""
    return row is not None and row["state"] == "failed" and row["failure_class"] == BAD_INPUT


def commands(
    trial: Trial, row: Mapping[str, Any] | None, store: Store | None, sweep: Sweep | None, name: str
) -> tuple[str, ...]:
    """Commands, ready for a shell: through the driver, and without it.

    Args:
        trial: to be run alone.
        row: its visible one, None where there is none.
        store: that has the row, or may get it.
        sweep: that the trial was looked up in.
        name: of the sweep that it was run from.
    """
    condition = f"--where \"trial_id = '{trial.trial_id}'\""
    uri = shlex.quote(store.uri) if store else "URI"
    failed = row is not None and row["state"] == "failed"
    by_input = failed_by_input(row)
    if superseded(trial):
        return (f"apet run SWEEP --store {uri}",)
    source, settings = ("SWEEP", "") if failed and not by_input else _holder(trial, store, sweep, name)
    look_up = f"--store {uri}" if row else f"--sweep {source}{settings}"
    alone = f"apet show {trial.trial_id} {look_up} --pack > pack.json && python -m workers.run pack.json --store OTHER"
    resubmit = f"apet resubmit --store {uri} {condition}"
    if by_input:
        return (f"apet run {source}{settings} --store {uri}", resubmit)
    again = f"apet run {source}{settings} --store {'OTHER' if row else uri} {condition}"
    return (resubmit if failed else again, alone)


def _holder(trial: Trial, store: Store | None, sweep: Sweep | None, name: str) -> tuple[str, str]:
    """A sweep that holds the trial, and its ``--set`` options: built in, else the file given, else the store's copy.

    A name alone is no proof: a copy of a built-in sweep that was edited may have kept it.
    """
    from trials.sweep.sweep import Sweep, builtin_names

    settings = sweep.settings if sweep is not None else ()
    found = [(name, partial(Sweep.load, name))] if name in builtin_names() else []
    if sweep is not None:
        found.append((sweep.where, partial(Sweep.load, sweep.where)))
    elif store is not None:
        with suppress(ApetError):  # a damaged copy holds nothing
            for where, text in store.sweeps(name):
                found.append((where, partial(Sweep.parse, text, where, Path(where).parent)))
    for source, load in found:
        try:
            held = trial in load().with_(settings).trials()
        except ApetError:  # its weights or data are elsewhere now
            continue
        if held:
            return shlex.quote(source), "".join(f" --set {shlex.quote(setting)}" for setting in settings)
    return "SWEEP", ""
