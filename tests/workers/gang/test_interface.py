"""The network interface that leads to another machine."""

from __future__ import annotations

import socket
import sys
from types import SimpleNamespace

import pytest

from workers.gang import processes
from workers.gang.interface import interface_to

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")


def test_it_is_the_one_of_the_address() -> None:
    assert interface_to("127.0.0.1") == "lo"
    assert interface_to("name.invalid") == ""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
        try:
            way.connect(("192.0.2.1", 9))  # of documentation: by the default route, if there is one
        except OSError:
            pytest.skip("no route to elsewhere")
        own = way.getsockname()[0]
    assert interface_to("192.0.2.1") == interface_to(own) in {name for _, name in socket.if_nameindex()}


@pytest.mark.parametrize(("local", "names"), [(True, ("lo", None)), (False, ("way0", "way0"))])
def test_ranks_of_several_machines_talk_over_it(
    local: bool, names: tuple[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    environment: dict[str, str] = {}
    monkeypatch.setattr(processes.os, "environ", environment)
    monkeypatch.setattr(processes, "interface_to", {"first": "way0"}.get)
    monkeypatch.setattr(processes, "PrefixStore", lambda name, meeting: meeting)
    monkeypatch.setattr(processes.dist, "init_process_group", lambda *args, **kwargs: None)
    processes.Processes(SimpleNamespace(host="first"), 1, 2, "cpu", 10.0, local=local)
    assert (environment.get("GLOO_SOCKET_IFNAME"), environment.get("NCCL_SOCKET_IFNAME")) == names
