"""What a row says of the machine."""

from __future__ import annotations

import pytest

from trials.processor import NODE_TYPE
from workers.environment import environment


@pytest.mark.parametrize("name", ["large", ""])
def test_a_machine_is_of_the_kind_that_its_cluster_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NODE_TYPE, name)
    kind = environment.__wrapped__()["node_type"]
    assert kind == name if name else kind not in ("", "large")
