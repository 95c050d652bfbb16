"""A small Ray for the tests of a file, whose processes find the tests' own modules."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from paths import SUPPORT
from ray_start import starting


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """Ray with two CPUs."""
    from orchestrator.driver.ray.cluster import ENVIRONMENT

    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        patch.setenv("PYTHONPATH", f"{SUPPORT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
        import ray

        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield ray
        ray.shutdown()


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """See :func:`ray_start.starting`."""
    with starting(tmp_path, monkeypatch) as ray_start:
        yield ray_start
