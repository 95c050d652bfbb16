"""Cluster files for tests: good ones, and what a rule says of one that is changed in a place."""

from __future__ import annotations

from pathlib import Path

from orchestrator.clusters.file import ClusterFile
from orchestrator.clusters.finding import Case

FOLDER = Path(__file__).parent.parent / "orchestrator" / "clusters"
GOOD = ("aws", "gcp", "local", "one")
READY = {"RAY_AUTH_MODE": "token", "RAY_UP_enable_autoscaler_v2": "0"}  # a launcher that is set up


def good(name: str) -> str:
    """The text of a file with which nothing is wrong."""
    return (FOLDER / f"good-{name}.yaml").read_text()


def case(
    folder: Path,
    text: str,
    store: str | None = None,
    environ: dict[str, str] | None = None,
    token: bool = True,
    **more: object,
) -> Case:
    """A file in a folder, which is the launcher's home too, with a token."""
    path = folder / "cluster.yaml"
    path.write_text(text)
    if token:
        (folder / ".ray").mkdir(exist_ok=True)
        (folder / ".ray" / "auth_token").write_text("secret")
    return Case(ClusterFile.load(path), folder, folder, READY if environ is None else environ, store, **more)  # type: ignore[arg-type]
