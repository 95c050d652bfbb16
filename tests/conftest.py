"""What all tests share: caches of their own, so that none reads what an earlier run wrote, and no data but theirs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("APET_CACHE", raising=False)
        patch.delenv("APET_DATA", raising=False)  # those on real data took its place from it when they were imported
        yield
