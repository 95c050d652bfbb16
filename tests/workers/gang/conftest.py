"""Gangs on real processes, and what they leave behind: nothing."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ganged_worker import WORKER
from leftovers import MARK, Leftovers

from trials.store.store import Store
from workers.gang.local import Local
from workers.gang.ranks import Launcher
from workers.gang.supervisor import GangWorker

if not Path("/proc").is_dir():
    pytest.skip("looks for processes in /proc", allow_module_level=True)

Make = Callable[..., GangWorker]


@pytest.fixture
def leftovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Leftovers:
    """What is left of the test's processes; they put temporary files into a folder of their own."""
    place, mark = tmp_path / "tmp", secrets.token_hex(8)
    place.mkdir()
    monkeypatch.setenv(MARK, mark)
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return Leftovers(mark, place)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", create=True)


@pytest.fixture
def gang(store: Store, leftovers: Leftovers) -> Iterator[Make]:
    """Makes gangs of the worker without a model, which are closed at the end and leave nothing."""
    made: list[GangWorker] = []

    def make(launcher: Launcher | None = None, worker: str = WORKER) -> GangWorker:
        made.append(GangWorker(store, launcher or Local(), worker=worker))
        return made[-1]

    yield make
    for one in made:
        one.close()
    leftovers.nothing()
