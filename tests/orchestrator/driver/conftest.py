"""A small Ray for the tests of a file, whose processes find the tests' own modules."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from paths import SUPPORT


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
