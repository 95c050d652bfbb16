"""The test hosts themselves: apart from each other, cut, killed, and gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hosts import TREE, Hosts, missing
from paths import ROOT

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(missing() is not None, reason=missing() or "")]
KILLED = """
import os, signal
from hosts import Hosts
with Hosts(["one"]) as hosts:
    print(hosts.folder, hosts.network, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def links(network: str) -> list[str]:
    """This machine's ends of a network."""
    number = network.split(".")[1]
    return [path.name for path in Path("/sys/class/net").glob(f"apet{number}*")]


def processes(folder: Path) -> list[str]:
    """Those that have a file system of a host, which shows the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/mounts"):
        with suppress(OSError):
            if path.read_text().count(str(folder)):
                found.append((path.parent / "cmdline").read_text().replace("\0", " "))
    return found


def test_hosts_are_machines_of_their_own() -> None:
    with Hosts(["one", "two"]) as hosts:
        assert hosts.run("one", "hostname; hostname -i; cat /proc/[0-9]*/comm").stdout.split()[:3] == [
            "one",
            hosts.address("one"),
            "sshd",
        ]
        hosts.run("one", "echo mine >/tmp/x; echo mine >~/x; echo mine >/etc/x; echo ours >/mnt/shared/x")
        seen = hosts.run("two", "cat /mnt/shared/x; ls /tmp/x /etc/x ~/x", check=False)
        assert (seen.stdout, seen.stderr.count("No such file")) == ("ours\n", 3)
        assert (hosts.shared / "x").read_text() == "ours\n"
        assert hosts.run("two", f"cat {hosts.shared}/x").stdout == "ours\n"
        assert not Path("/etc/x").exists()
        hosts.run("two", f"exec 3<>/dev/tcp/{hosts.address('one')}/22")


def test_hosts_have_the_checkout_under_test() -> None:
    code = "import trials, sys, torch; print(trials.__path__[0], sys.prefix)"
    with Hosts(["one"]) as hosts:
        for done in (hosts.run("one", f"cd /; python -c '{code}'"), hosts.here("python", "-c", code)):
            assert done.stdout.split() == [str(ROOT / "trials"), sys.prefix]
        direct = subprocess.run([*hosts.ssh("one", "")[:-1], "env"], capture_output=True, text=True, check=True)
        assert {f"{name}={value}" for name, value in TREE.items()} <= set(direct.stdout.splitlines())


def test_a_host_that_is_killed_is_gone_and_the_other_is_not() -> None:
    with Hosts(["one", "two"]) as hosts:
        sleeper = subprocess.Popen(hosts.ssh("one", "echo up; sleep 1000"), stdout=subprocess.PIPE)
        assert sleeper.stdout is not None
        assert sleeper.stdout.readline() == b"up\n"
        hosts.kill("one")
        assert sleeper.wait(timeout=20) == 255
        assert hosts.run("one", "true", check=False, timeout=40).returncode == 255
        hosts.run("two", "true")


def test_a_cut_link_loses_packets_and_no_connection() -> None:
    with Hosts(["one", "two"]) as hosts:
        talk = subprocess.Popen(hosts.ssh("one", "while date +%s.%N; do sleep 0.1; done"), stdout=subprocess.PIPE)
        assert talk.stdout is not None
        talk.stdout.readline()
        hosts.cut("one")
        assert hosts.run("one", "true", check=False, timeout=40).returncode == 255
        hosts.mend("one")
        deadline, now = time.monotonic() + 60, time.time()
        while float(talk.stdout.readline()) < now:  # the same connection goes on
            assert time.monotonic() < deadline
        talk.kill()
        talk.wait()


def test_nothing_is_left_when_a_test_fails() -> None:
    def fail() -> None:
        assert len(links(hosts.network)) == 3
        assert len(processes(hosts.folder)) > 2
        raise ZeroDivisionError

    hosts = Hosts(["one", "two"])
    with pytest.raises(ZeroDivisionError), hosts:
        fail()
    assert not [*links(hosts.network), *processes(hosts.folder)]
    assert not hosts.folder.exists()


def test_nothing_is_left_of_a_process_that_was_killed() -> None:
    environment = {**os.environ, "PYTHONPATH": TREE["PYTHONPATH"]}
    dead = subprocess.run([sys.executable, "-c", KILLED], env=environment, capture_output=True, text=True)
    assert dead.returncode == -signal.SIGKILL, dead.stderr
    folder, network = Path(dead.stdout.split()[0]), dead.stdout.split()[1]
    deadline = time.monotonic() + 20
    while left := [*links(network), *processes(folder), *folder.parent.glob(folder.name)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
