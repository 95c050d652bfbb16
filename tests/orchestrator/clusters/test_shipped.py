"""The cluster files of the project: nothing is wrong with them once what is the user's is filled in."""

from __future__ import annotations

from pathlib import Path

import pytest
from cluster_files import READY
from paths import ROOT

from orchestrator.clusters.check import findings
from orchestrator.clusters.file import ClusterFile
from orchestrator.clusters.finding import Case, Finding
from orchestrator.clusters.holdings import holdings
from trials.sweep.sweep import Sweep

FILES = [ROOT / "cluster.yaml", *sorted((ROOT / "clusters").glob("*.yaml"))]
YOURS = {
    "YOUR-BUCKET": "study",
    "sg-YOURS": "sg-0a1b2c3d4e5f60718",
    "YOUR-PROJECT": "study-123456",
    "ssh_user: you\n": "ssh_user: someone\n",
}


def found(path: Path, folder: Path, fill: bool) -> tuple[Finding, ...]:
    """What is said to somebody who has a token and a key."""
    for name in (".ray/auth_token", ".ssh/id_ed25519"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("secret")
    text = path.read_text()
    for old, new in YOURS.items() if fill else ():
        text = text.replace(old, new)
    (folder / path.name).write_text(text)
    return findings(Case(ClusterFile.load(folder / path.name), ROOT, folder, READY))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_is_wrong_with_a_file_that_is_filled_in(path: Path, tmp_path: Path) -> None:
    assert found(path, tmp_path, fill=True) == ()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_as_it_comes_says_what_is_to_be_filled_in_and_nothing_else(path: Path, tmp_path: Path) -> None:
    said = found(path, tmp_path, fill=False)
    assert said
    assert {one.rule for one in said} == {"placeholders.filled"}
    assert not any(one.problem.startswith(",") for one in said), "of no node type, for an anchor outside them"


def test_the_cluster_holds_every_backbone_of_the_built_in_sweeps_but_what_only_many_cards_train() -> None:
    """T5-XXL as a whole, 11 billion weights with their moments, needs a machine of several large cards."""
    held = holdings(ClusterFile.load(ROOT / "cluster.yaml"), Sweep.load("count"))
    assert {(one.backbone, one.methods) for one in held if not one.node_type} <= {("t5-xxl", "full")}
    small = {one.node_type for one in held if one.backbone in ("bert-small", "t5-small")}
    assert small
    assert "large-h100" not in small, "the large cards wait for what only they hold"
