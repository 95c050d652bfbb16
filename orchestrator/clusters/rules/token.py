"""Ray's token: who lacks it can't run anything on the cluster. It takes the file and the mode, everywhere."""

from __future__ import annotations

import re
from collections.abc import Iterator

from orchestrator.clusters.document import mapping
from orchestrator.clusters.finding import Case, Problem, error, start_key, warning
from orchestrator.clusters.rules.mounts import TOKEN

MODE = "RAY_AUTH_MODE"
_ON = re.compile(rf"{MODE}['\"]?[=: ]\s*['\"]?token\b", re.IGNORECASE)
_KEPT = re.compile(r"(>>|\btee\b).*(bashrc|profile|environment)")
_START = re.compile(r"\bray\s+start\b")
NEW = "ray get-auth-token --generate"


def mount(case: Case) -> Iterator[Problem]:
    """The token goes to the nodes: `ray up` never ships it by itself."""
    mounts = mapping(case.file.raw.get("file_mounts"))
    fetched = any(TOKEN in text for _, text in case.file.commands())
    if not fetched and not any(str(remote).endswith(TOKEN) for remote in mounts):
        said = "no node gets the token: `ray up` doesn't ship it"
        yield error(("file_mounts",), said, f"add file_mounts: {{~/{TOKEN}: ~/{TOKEN}}}")


def mode(case: Case) -> Iterator[Problem]:
    """``RAY_AUTH_MODE=token`` is set where Ray starts, on the head and on workers: the file alone isn't enough."""
    docker = mapping(case.file.raw.get("docker"))
    everywhere = any(_ON.search(str(docker.get(key))) for key in ("run_options",))
    for head in (True, False) if case.file.nodes > 1 else (True,):
        kept = everywhere or any(_ON.search(text) and _KEPT.search(text) for _, text in case.scripts(head))
        for path, text in case.starts(head):
            if _START.search(text) and not _ON.search(text.split("ray start")[0]) and not kept:
                who = "the head starts" if head else "workers start"
                said = f"{start_key(head)}: {who} without {MODE}=token, open to everyone in the network"
                yield error(path, said, f"write `export {MODE}=token; ray start …`: a command has its own shell")


def here(case: Case) -> Iterator[Problem]:
    """Whoever runs `ray up` has the token and the mode too."""
    if case.environ.get("RAY_AUTH_TOKEN") is None:
        mounted = [str(one) for one in mapping(case.file.raw.get("file_mounts")).values() if str(one).endswith(TOKEN)]
        path = case.environ.get("RAY_AUTH_TOKEN_PATH") or (mounted or [f"~/{TOKEN}"])[0]
        if not case.local(path).is_file():
            yield warning(("file_mounts", f"~/{TOKEN}"), f"there is no token yet at {path}", f"make one: {NEW}")
    if case.environ.get(MODE, "").lower() != "token":
        said = f"{MODE} isn't token in this shell: Ray's commands wouldn't show the token"
        yield warning((), said, f"run `export {MODE}=token`")
