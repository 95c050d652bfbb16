"""What a file for machines of your own, listed by address, must say."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.clusters.document import whole
from orchestrator.clusters.finding import Case, Problem, error, warning


def addresses(case: Case) -> Iterator[Problem]:
    """Head and workers are listed, each once; an empty list of workers is one machine alone."""
    if case.file.kind != "local" or "coordinator_address" in case.file.provider:
        return
    head, workers = case.file.provider.get("head_ip"), case.file.provider.get("worker_ips")
    if not isinstance(head, str):
        yield error(("provider", "head_ip"), "provider.head_ip is missing", "add the head's address")
    if not isinstance(workers, list):
        yield error(("provider", "worker_ips"), "provider.worker_ips is missing", "list the workers' addresses")
        return
    seen = [head]
    for index, address in enumerate(workers):
        if address in seen:
            said = f"{address} is there twice{', as the head too' if address == head else ''}"
            yield error(("provider", "worker_ips", index), said, "list every machine once")
        seen.append(address)


def types(case: Case) -> Iterator[Problem]:
    """There are no node types: Ray refuses them here."""
    if case.file.kind == "local":
        for key in ("available_node_types", "head_node_type"):
            if case.file.raw.get(key):
                said = f"{key}: of machines listed by address Ray finds out itself what they have, and refuses it"
                yield error((key,), said, "drop it")


def all_join(case: Case) -> Iterator[Problem]:
    """No limit leaves a machine out."""
    workers = case.file.provider.get("worker_ips")
    if case.file.kind == "local" and isinstance(workers, list):
        for key in ("min_workers", "max_workers"):
            if key in case.file.raw and whole(case.file.raw[key], 0) < len(workers):
                said = f"{key} is {case.file.raw[key]}, and {len(workers)} workers are listed: others stay out"
                yield warning((key,), said, f"drop it: Ray takes all {len(workers)}")


def login(case: Case) -> Iterator[Problem]:
    """It is said who logs in: Ray has no default here."""
    auth = case.file.raw.get("auth")
    if case.file.kind == "local" and not (isinstance(auth, dict) and auth.get("ssh_user")):
        yield error(("auth",), "auth.ssh_user is missing", "add auth: {ssh_user: …}, who can log in everywhere")
