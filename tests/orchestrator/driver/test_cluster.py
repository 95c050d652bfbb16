"""Clusters that aren't there."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from shell import SMALL, refused, small


@pytest.mark.parametrize("address", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_a_cluster_where_nobody_listens(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    local = SMALL.replace("rte", "rotten_tomatoes")  # from a package: no hub is asked
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("Ray would try for ten minutes"))
    with socket.socket() as held:  # bound, but it doesn't listen
        held.bind(("127.0.0.1", 0))
        address = address.format(held.getsockname()[1])
        words = ("run", small(tmp_path, local), "--store", tmp_path / "s", "--address", address)
        refused(*words, says=[f"no Ray cluster answers at '{address}'", "ray start --head"])
