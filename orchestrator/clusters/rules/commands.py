"""The commands that install and start Ray on nodes; those that a file leaves out are Ray's own, and rarely good."""

from __future__ import annotations

import re
from collections.abc import Iterator

from orchestrator.clusters.document import Path
from orchestrator.clusters.finding import Case, Problem, error, start_key, warning

_START = re.compile(r"\bray\s+start\b")
_OPEN = re.compile(r"--dashboard-host[= ]+['\"]?(0\.0\.0\.0|::)(?![\w.:])")


def setup(case: Case) -> Iterator[Problem]:
    """``setup_commands`` are given: Ray's own install a nightly build of Ray."""
    if case.file.kind != "local" and "setup_commands" not in case.file.raw:
        said = "setup_commands is missing, and Ray's own install a nightly build of Ray, and not this project"
        yield error((), said, "add what installs this project; the project's cluster.yaml shows how")
    for path, text in case.file.commands():
        if "ray-wheels/latest" in text:
            yield error(path, "this installs a nightly build of Ray", "install this project, with its constraints.txt")


def start(case: Case) -> Iterator[Problem]:
    """The head and the workers are started by commands of this file, which start Ray."""
    for head, wanted in ((True, "--head"), (False, "--address")):
        key, commands = start_key(head), case.starts(head)
        if not head and case.file.nodes == 1:
            continue
        if key not in case.file.raw:
            said = f"{key} is missing, and Ray's own know of no token"
            yield error((), said, f"add it, with `export RAY_AUTH_MODE=token; ray start {wanted} …`")
        elif not any(_START.search(text) and wanted in text for _, text in commands):
            yield error((key,), f"{key}: no command runs `ray start {wanted} …`", "add it as the last one")


def autoscaling(case: Case) -> Iterator[Problem]:
    """The head is told where the autoscaler's configuration is: without it no worker ever starts."""
    for path, text in _heads(case):
        if "--autoscaling-config" not in text and case.file.nodes > 1:
            said = "the head starts without --autoscaling-config: no worker will ever start"
            yield error(path, said, "add --autoscaling-config=~/ray_bootstrap_config.yaml to `ray start --head`")


def dashboard(case: Case) -> Iterator[Problem]:
    """The dashboard listens on the head alone: whoever reaches it can run anything."""
    mend = "drop --dashboard-host, and look at it through `ray dashboard FILE`"
    for path, text in _heads(case):
        if _OPEN.search(text):
            yield error(path, "the dashboard listens to the whole network", mend)
    if start_key(True) not in case.file.raw and case.file.kind not in ("", "local"):
        said = "the head's start is left to Ray, which opens the dashboard to the whole network"
        yield error((), said, f"add {start_key(True)}; {mend}")


def autoscaler(case: Case) -> Iterator[Problem]:
    """On machines listed by address the autoscaler is version 1: with 2 only one worker ever joins (Ray 2.60)."""
    if case.file.kind != "local" or case.file.nodes < 3:
        return
    inside = any("RAY_enable_autoscaler_v2=0" in text for _, text in _heads(case))
    if not inside and case.environ.get("RAY_UP_enable_autoscaler_v2", "1") == "1":
        said = "provider type local with version 2 of the autoscaler, Ray's default: only one worker joins"
        yield warning(("provider", "type"), said, "run `export RAY_UP_enable_autoscaler_v2=0` before `ray up`")


def _heads(case: Case) -> list[tuple[Path, str]]:
    """Commands that start the head."""
    return [one for one in case.starts(head=True) if _START.search(one[1])]
