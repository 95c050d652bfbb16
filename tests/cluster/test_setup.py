"""The set-up commands of cluster.yaml, as they stand, on a machine that has a Python, a bucket and a package index."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import moto_server
import pytest
from aws_file import BUCKET, edited
from hosts import Hosts, missing
from paths import ROOT
from way_out import way_out

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(missing() is not None, reason=missing() or ""),
]
INSTALL_S = 1200.0


def no_index() -> str | None:
    """Why this machine's pip finds no packages."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps", "setuptools>=77"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return "no package index answers"
    return done.stderr.strip().splitlines()[-1] if done.returncode else None


@pytest.fixture(scope="module")
def clean() -> Iterator[Hosts]:
    """A host that knows nothing of this checkout, and has a way to the index and to AWS as moto plays it."""
    if why := no_index():
        pytest.skip(f"no packages: {why}")
    with ExitStack() as stack:
        own = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        hosts = stack.enter_context(Hosts(["clean"], variables={"LANG": "C.UTF-8", **own}, disk="8g"))
        url = stack.enter_context(moto_server.moto_server(hosts.gateway))
        moto_server.make_bucket(url, BUCKET)
        reached = {**moto_server.environment(url), "https_proxy": stack.enter_context(way_out(hosts.gateway))}
        lines = "".join(f"export {name}={value}\n" for name, value in reached.items())
        hosts.run("clean", f"echo {shlex.quote(lines)} >>~/.bashrc")
        yield hosts


def run(hosts: Hosts, commands: list[str]) -> str:
    """Run commands as Ray's updater does; what they say."""
    said = ""
    for command in commands:
        whole = f"source ~/.bashrc; export OMP_NUM_THREADS=1 PYTHONWARNINGS=ignore && ({command})"
        said += hosts.run("clean", f"bash --login -c -i {shlex.quote(whole)}", timeout=INSTALL_S).stdout
    return said


def mount(hosts: Hosts, config: dict[str, Any]) -> None:
    """The file mounts, by rsync as Ray has it."""
    ssh = shlex.join(hosts.ssh("clean", "true")[:-2])
    (hosts.folder / "token").write_text("0" * 64)
    for there, here in config["file_mounts"].items():
        source = hosts.folder / "token" if here.startswith("~") else ROOT / here
        slash = "/" if source.is_dir() else ""
        hosts.run("clean", f"mkdir -p $(dirname {there})")
        excluded = [f"--exclude={pattern}" for pattern in config["rsync_exclude"]]
        place = f"root@{hosts.address('clean')}:{there.removeprefix('~/')}{slash}"
        hosts.here("rsync", "-az", "-e", ssh, *excluded, f"{source}{slash}", place)


def test_from_a_bare_machine_to_apet(clean: Hosts) -> None:
    config = edited("sg-none")
    assert clean.run("clean", "command -v apet ray", check=False).returncode, "the machine isn't clean"
    mount(clean, config)
    said = run(clean, config["setup_commands"] + config["head_setup_commands"])
    assert said.strip().endswith("apet 0.1.0"), said
    assert "token" in run(clean, [". ~/apet/env; which ray; echo $RAY_AUTH_MODE"])
    exact = run(clean, ["~/apet/bin/pip freeze"]).lower().splitlines()
    pins = [line for line in (ROOT / "constraints.txt").read_text().lower().splitlines() if line.startswith("ray==")]
    assert pins
    assert set(pins) <= set(exact), "not the pinned versions"

    # a worker takes it from the bucket; the same wheel is there already, and nothing is installed anew
    before = run(clean, ["stat -c %Y%i ~/apet/bin/apet ~/apet/installed"])
    said = run(clean, ["rm -rf ~/apet-tree ~/.ray", *config["setup_commands"], *config["worker_setup_commands"]])
    assert said.strip().endswith("apet 0.1.0"), said
    assert run(clean, ["stat -c %Y%i ~/apet/bin/apet ~/apet/installed"]) == before
    assert run(clean, ["stat -c %a ~/.ray/auth_token; cat ~/.ray/auth_token"]).split() == ["600", "0" * 64]

    # and again on the head, as after a change of the cluster file; other code is installed, and only that
    mount(clean, config)
    run(clean, config["head_setup_commands"])
    assert run(clean, ["stat -c %Y%i ~/apet/bin/apet ~/apet/installed"]) == before
    mount(clean, config)
    clean.run("clean", "rm ~/apet-tree/trials/streams.py; echo 'NEW = 1' >>~/apet-tree/trials/errors.py")
    run(clean, [config["head_setup_commands"][0] + " || true"])
    assert run(clean, ["cd /; ~/apet/bin/python -c 'from trials import errors; print(errors.NEW)'"]).strip() == "1"
    gone = run(clean, ["cd /; ~/apet/bin/python -c 'import trials.streams' 2>&1 || true"])
    assert "No module named 'trials.streams'" in gone, "a deleted file is in the wheel"


def test_the_dockerfile_installs_the_same(clean: Hosts) -> None:
    """Its COPY and its pip, with the Python of the test before."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copied = [word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]]
    (install,) = (line.removeprefix("RUN ") for line in lines if line.startswith("RUN pip "))
    clean.run("clean", "rm -rf /apet; mkdir /apet")
    ssh = shlex.join(clean.ssh("clean", "true")[:-2])
    place = f"root@{clean.address('clean')}:/apet/"
    clean.here("rsync", "-az", "-e", ssh, "--exclude=__pycache__", *(ROOT / name for name in copied), place)
    run(clean, ["~/apet/bin/pip uninstall -qy apet; test ! -e ~/apet/bin/apet"])
    assert "apet 0.1.0" in run(clean, [f"cd /apet; export PATH=~/apet/bin:$PATH; {install}; cd /; apet --version"])
