"""Test hosts: machines for tests of clusters, each with an address, a disk, processes and an sshd of its own, made of
namespaces on this machine.

    with Hosts(["head", "left", "right"]) as hosts:
        hosts.run("left", "hostname")                    # by ssh, a login shell
        hosts.here("ray", "up", "--yes", file)           # on the launching side: this machine
        hosts.kill("right")

Two hosts see different disks (this machine's, read only, under a layer in memory), empty homes, empty `/tmp`, and no
network but their own, on which this machine is :attr:`Hosts.gateway`. What they share is `/mnt/shared`, which is
:attr:`Hosts.shared` on this machine and, by that path too, on every host. They find this checkout and the interpreter
that runs the tests by :data:`TREE`, so that `python`, `ray` and `apet` there are the ones under test.

Nothing outlives the process that made them, whichever way it ends: the kernel ends the hosts with it, and a keeper,
which hears of its end by a closed pipe, takes the network and the folder away.
"""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from paths import ROOT, SUPPORT

PATH = f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TREE = {"PATH": PATH, "PYTHONPATH": f"{ROOT}:{SUPPORT}", "LANG": "C.UTF-8", "RAY_USAGE_STATS_ENABLED": "0"}
NETWORKS = (77, 78)  # 10.N.0.0/24; one test run each
NAMESPACES = ("unshare", "--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child")
TOOLS = ("ip", "rsync", "ssh", "ssh-keygen", "setpriv", "unshare", "/usr/sbin/sshd")
FREE_S, UP_S, GONE_S, COMMAND_S = 300.0, 20.0, 20.0, 120.0
KEEPER = """\
cat >/dev/null  # until the pipe's other end is closed, or dead
for link in /sys/class/net/"$1" /sys/class/net/"$1"-*; do
    ip link delete "${link##*/}" 2>/dev/null
done
rm -rf "$2"
"""


def missing() -> str | None:
    """Why there can be no hosts on this machine; None where there can."""
    if os.geteuid() != 0:
        return "hosts need root"
    if absent := [tool for tool in TOOLS if shutil.which(tool) is None]:
        return f"hosts need {', '.join(absent)} (Debian: apt-get install openssh-server rsync iproute2)"
    link = "ip link add apet type bridge && mount -t tmpfs tmpfs /mnt && mkdir /mnt/u /mnt/w"
    overlay = "mount -t overlay -o lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w overlay /mnt"
    tried = subprocess.run([*NAMESPACES, "sh", "-c", f"{link} && {overlay}"], capture_output=True, text=True)
    return f"hosts need namespaces, bridges and overlays: {tried.stderr.strip()}" if tried.returncode else None


class Hosts:
    """Several hosts on a network of their own, up inside ``with``, which must be entered in the main thread.

    Args:
        names: of the hosts; they have the addresses .FIRST, .FIRST + 1, … in this order.
        first: last number of the first address, 2 or more.
        variables: in the environment of every session; ``{}`` makes hosts that know nothing of this checkout.
        disk: how much a host may write, as tmpfs has it: a limit, taken only when written.
    """

    def __init__(
        self, names: Sequence[str], *, first: int = 2, variables: Mapping[str, str] = TREE, disk: str = "1g"
    ) -> None:
        self._octets = {name: first + place for place, name in enumerate(names)}
        self._variables, self._disk = dict(variables), disk
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def network(self) -> str:
        """All addresses, such as 10.77.0.0/24."""
        return f"10.{self._number}.0.0/24"

    @property
    def gateway(self) -> str:
        """This machine's address as the hosts see it: what listens here (a server for tests) is found there."""
        return f"10.{self._number}.0.1"

    def address(self, name: str) -> str:
        """Of a host."""
        return f"10.{self._number}.0.{self._octets[name]}"

    @property
    def shared(self) -> Path:
        """The folder that all hosts and this machine see, here by the same path as there."""
        return self.folder / "shared"

    @property
    def key(self) -> Path:
        """The private key, RSA in PEM, that opens every host for root; the public one is beside it (`.pub`)."""
        return self.folder / "key"

    @property
    def environment(self) -> dict[str, str]:
        """All variables of the launching side: a home and temporary folders of the test's own, Ray's token
        authentication switched on (the token itself is the test's to make), and this checkout.
        """
        own = {"HOME": self.folder / "home", "TMPDIR": self.folder / "tmp", "RAY_TMPDIR": self.folder / "ray"}
        return {**TREE, **{name: str(path) for name, path in own.items()}, "RAY_AUTH_MODE": "token", "TERM": "dumb"}

    def here(
        self, *words: str | Path, timeout: float = COMMAND_S, check: bool = True, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on the launching side.

        Args:
            words: the command.
            timeout: seconds.
            check: whether it must succeed.
            variables: beside, or instead of, :attr:`environment`.
        """
        return _run([str(word) for word in words], timeout, check, {**self.environment, **variables})

    def run(
        self, name: str, command: str, *, timeout: float = COMMAND_S, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a login shell of a host, as root, by ssh.

        Args:
            name: of the host.
            command: for bash.
            timeout: seconds.
            check: whether it must succeed.
        """
        return _run(self.ssh(name, command), timeout, check, self.environment)

    def ssh(self, name: str, command: str) -> list[str]:
        """The words of a process here that runs a command there."""
        known = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "ConnectTimeout=20")
        options = [word for option in ("BatchMode=yes", *known) for word in ("-o", option)]
        return [
            "ssh",
            "-i",
            str(self.key),
            *options,
            f"root@{self.address(name)}",
            shlex.join(["bash", "-lc", command]),
        ]

    def kill(self, name: str) -> None:
        """End every process of a host at once, its disk with them; its kernel still tells others that connections are
        closed. After :meth:`cut` it doesn't: that is a machine without power.
        """
        process = self._running.pop(name)
        process.kill()  # and the kernel the first process of the host, and that all others
        process.wait()

    def cut(self, name: str) -> None:
        """Lose every packet from and to a host, without a word to either side."""
        _ip(f"link set {self._link(name)} nomaster")

    def mend(self, name: str) -> None:
        """End what :meth:`cut` began."""
        _ip(f"link set {self._link(name)} master {self._bridge}")

    def __enter__(self) -> Hosts:
        self._number, self._lock = _claim()
        self._bridge = f"apet{self._number}"
        self.folder = Path(tempfile.mkdtemp(prefix=f"apet-hosts-{self._number}-", dir="/tmp"))  # short: sockets
        self._keeper = subprocess.Popen(
            ["sh", "-c", KEEPER, "keeper", self._bridge, str(self.folder)],
            stdin=subprocess.PIPE,
            pass_fds=[self._lock.fileno()],  # the network is free when it has done its work
            start_new_session=True,
        )
        try:
            self._prepare()
            for name in self._octets:
                self._start(name)
            for name in self._octets:
                self._wait_for(name)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in list(self._running):
            self.kill(name)
        self._lock.close()
        self._keeper.communicate(timeout=GONE_S)

    def _prepare(self) -> None:
        for name in ("shared", "home", "tmp", "ray"):
            (self.folder / name).mkdir()
        self.folder.chmod(0o755)
        subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-m", "PEM", "-N", "", "-f", self.key], check=True)
        lines = ["127.0.0.1 localhost", *(f"{self.address(name)} {name}" for name in self._octets)]
        (self.folder / "hosts").write_text("".join(f"{line}\n" for line in lines))
        words = [f"{name}={value}" for name, value in self._variables.items()]
        (self.folder / "variables").write_text(" ".join(f'"{word}"' for word in words))
        (self.folder / "profile.sh").write_text("".join(f"export {shlex.quote(word)}\n" for word in words))
        fixed = f"02:00:0a:{self._number:02x}:00:01"  # else it is the least of its links', and changes when one goes
        _ip(f"link add {self._bridge} address {fixed} type bridge")
        _ip(f"address add {self.gateway}/24 dev {self._bridge}")
        _ip(f"link set {self._bridge} up")

    def _start(self, name: str) -> None:
        home = pwd.getpwuid(0).pw_dir
        words = [name, f"{self.address(name)}/24", str(self.folder), self._disk, home, *_hidden(home)]
        with (self.folder / f"{name}.log").open("w") as log:
            process = self._running[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *NAMESPACES, "bash", str(SUPPORT / "host.sh"), *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        ours, its = Path("/proc/self/ns/net").stat(), Path(f"/proc/{process.pid}/ns/net")
        deadline = time.monotonic() + UP_S
        while its.stat().st_ino == ours.st_ino:
            self._still(name, deadline)
            time.sleep(0.01)
        _ip(f"link add {self._link(name)} type veth peer name eth0 netns {process.pid}")
        _ip(f"link set {self._link(name)} master {self._bridge} up")

    def _wait_for(self, name: str) -> None:
        deadline = time.monotonic() + UP_S
        while True:
            try:
                with socket.create_connection((self.address(name), 22), timeout=1) as sshd:
                    assert sshd.recv(4) == b"SSH-"
                return
            except OSError:
                self._still(name, deadline)
                time.sleep(0.05)

    def _still(self, name: str, deadline: float) -> None:
        """Make sure that a host may still come up."""
        coming = self._running[name].poll() is None and time.monotonic() < deadline
        assert coming, f"{name} isn't up: {(self.folder / f'{name}.log').read_text()}"

    def _link(self, name: str) -> str:
        """This machine's end of a host's link."""
        return f"{self._bridge}-{self._octets[name]}"


def _claim() -> tuple[int, socket.socket]:
    """The number of a network that nobody else uses, and what says so: a name in the kernel, which no end of a process
    leaves behind.
    """
    deadline = time.monotonic() + FREE_S
    while time.monotonic() < deadline:
        for number in NETWORKS:
            lock = socket.socket(socket.AF_UNIX)
            try:
                lock.bind(f"\0apet-hosts-{number}")
                return number, lock
            except OSError:
                lock.close()
        time.sleep(0.5)
    raise TimeoutError(f"other tests had all networks of test hosts ({NETWORKS}) for {FREE_S:.0f} s")


def _hidden(home: str) -> list[str]:
    """What hosts need and wouldn't see: they get this machine's first disk without `home` and `/tmp`."""
    needed = {Path(place).resolve() for place in (ROOT, sys.prefix, sys.base_prefix)}
    first = Path("/").stat().st_dev
    return sorted(
        str(place)
        for place in needed
        if place.stat().st_dev != first or any(place.is_relative_to(covered) for covered in (home, "/tmp"))
    )


def _ip(words: str) -> None:
    _run(["ip", *words.split()], COMMAND_S, True, None)


def _run(
    words: list[str], timeout: float, check: bool, environment: dict[str, str] | None
) -> subprocess.CompletedProcess[str]:
    """Run a process; where it must succeed and doesn't, say what it said."""
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=timeout, env=environment, stdin=subprocess.DEVNULL
    )
    assert not check or done.returncode == 0, f"{shlex.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done
