"""What is copied to nodes when they start."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.clusters.document import mapping
from orchestrator.clusters.finding import Case, Problem, error, warning

TOKEN = ".ray/auth_token"
HEAVY = (".venv", ".git", "runs")  # of a clone: what no node needs


def sources(case: Case) -> Iterator[Problem]:
    """What is to be copied is there; the token has a rule of its own."""
    for remote, local in mapping(case.file.raw.get("file_mounts")).items():
        if not isinstance(local, str):
            yield error(("file_mounts", remote), f"file_mounts {remote}: no path on this side", "write REMOTE: LOCAL")
        elif not local.endswith(TOKEN) and not case.local(local).exists():
            beside = not local.startswith(("~", "/")) and (case.file.path.parent / local).exists()
            mend = f"run `ray up` in {case.file.path.parent}" if beside else "write a path that is there, or drop it"
            said = f"file_mounts {remote}: there is no {case.local(local)} here"
            yield error(("file_mounts", remote), said, f"{mend}; paths count from where `ray up` runs")


def weight(case: Case) -> Iterator[Problem]:
    """A mounted clone leaves its environment, its results and its history here."""
    raw = case.file.raw
    kept = " ".join(str(raw.get(key)) for key in ("rsync_exclude", "rsync_filter"))
    for remote, local in mapping(raw.get("file_mounts")).items():
        if isinstance(local, str) and case.local(local).is_dir():
            found = [name for name in HEAVY if (case.local(local) / name).exists() and name not in kept]
            if found and ".gitignore" not in kept:
                said = f"file_mounts {remote}: {', '.join(found)} of {local} would be copied to every node too"
                yield warning(("file_mounts", remote), said, f"add rsync_exclude: [{', '.join(found)}]")


def key(case: Case) -> Iterator[Problem]:
    """The private key that nodes are reached with is there."""
    auth = mapping(case.file.raw.get("auth"))
    name = auth.get("ssh_private_key")
    if isinstance(name, str) and not case.local(name).is_file():
        said = f"auth.ssh_private_key: there is no {case.local(name)} here"
        made = "fetch it" if case.file.kind == "aws" else f"make one: ssh-keygen -t ed25519 -f {name}"
        yield error(("auth", "ssh_private_key"), said, f"{made}, or drop it if ssh finds the key itself")
