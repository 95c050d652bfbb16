"""What all tests share: caches of their own, so that none reads what an earlier run wrote, no data but theirs, and an
S3 for those that ask for it.
"""

from __future__ import annotations

import gc
import secrets
from collections.abc import Iterator

import pytest
from moto_server import environment, make_bucket, moto_server


@pytest.fixture(scope="module", autouse=True)
def _little_to_look_through() -> Iterator[None]:
    """Workers collect garbage after every pack: what tests are made of, and modules that others imported, isn't."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("APET_CACHE", raising=False)
        patch.delenv("APET_DATA", raising=False)  # those on real data took its place from it when they were imported
        yield


@pytest.fixture(scope="session")
def _moto() -> Iterator[str]:
    with moto_server() as url:
        make_bucket(url, "bucket")
        yield url


@pytest.fixture
def s3(_moto: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A URI for a store: a folder of the test's own in a bucket of an S3 that the environment names, as on AWS."""
    for name, value in environment(_moto).items():
        monkeypatch.setenv(name, value)
    return f"s3://bucket/{secrets.token_hex(4)}"
