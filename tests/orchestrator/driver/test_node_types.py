"""Clusters whose nodes say their type, and clusters of which a node has other code."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fake_worker import WORKER, behave, todo
from paths import ROOT

from orchestrator.driver.patience import Patience
from orchestrator.driver.ray.autoscaler import Kind
from orchestrator.driver.run import execute
from trials.code import PACKAGES
from trials.errors import ApetError
from trials.store.store import Store

GIB = 2**30
LARGE = ("--num-cpus=1", f"--memory={8 * GIB}", "--labels=apet-node-type=large,apet-price=1.0")
SMALL = ("--num-cpus=1", f"--memory={3 * GIB // 2}", "--labels=apet-node-type=small,apet-price=0.2")
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(200)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", create=True)


def types(store: Store) -> dict[str, set[str]]:
    """By backbone, where its rows were made."""
    found: dict[str, set[str]] = {}
    for row in store.attempts().to_pylist():
        found.setdefault(row["backbone"], set()).add(row["node_type"])
    return found


def test_packs_go_to_the_cheapest_type_that_holds_them_and_to_others_at_the_same_time(
    start: Callable[..., str], store: Store
) -> None:
    start("--num-cpus=0")
    for words in (LARGE, SMALL):
        address = start(*words, head=False)
    todos = [todo(i, name) for name in ("bert-large", "tiny-bert") for i in range(4)]
    behave(store, {one.trial.trial_id: "sleep:1" for one in todos})
    summary = execute(todos, store, address=address, quiet=True, worker=WORKER)
    assert (summary.completed, summary.workers_started) == (8, 2)
    assert types(store) == {"bert-large": {"large"}, "tiny-bert": {"small"}}
    spans = {
        name: (min(row["started_at"] for row in some), max(row["finished_at"] for row in some))
        for name in types(store)
        if (some := [row for row in store.attempts().to_pylist() if row["backbone"] == name])
    }
    assert spans["tiny-bert"][0] < spans["bert-large"][1]
    assert spans["bert-large"][0] < spans["tiny-bert"][1]


def test_a_type_that_cannot_be_had_does_not_stop_the_sweep(
    start: Callable[..., str], store: Store, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    cheap = Kind("cheap", {"CPU": 1, "memory": 8 * GIB}, 2, {"apet-node-type": "cheap", "apet-price": "0.01"})
    monkeypatch.setattr("orchestrator.driver.ray.autoscaler._on_head", lambda ray: [cheap])
    monkeypatch.setattr("orchestrator.driver.ray.searcher.Patience", partial(Patience, 4.0))
    start("--num-cpus=0")
    address = start(*SMALL, head=False)
    summary = execute([todo(i) for i in range(4)], store, address=address, quiet=True, worker=WORKER)
    assert summary.completed == 4
    assert types(store) == {"tiny-bert": {"small"}}
    assert "no node of type cheap could be had" in (said := capfd.readouterr().err)
    assert "4 trials go elsewhere" in said


def changed(folder: Path) -> Path:
    """A copy of the code that differs in a line; who has it first in its path takes it before Ray adds the driver's."""
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "workers" / "free.py").open("a") as file:
        file.write("# another line\n")
    (folder / "sitecustomize.py").write_text(f"import {', '.join(PACKAGES)}\n")
    return folder


def hosts(store: Store) -> set[Any]:
    return {row["node_type"] for row in store.attempts().to_pylist()}


def test_a_late_node_with_other_code_is_refused_by_its_name(
    start: Callable[..., str],
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("APET_NODE_TYPE", "same")
    start("--num-cpus=0")
    address = start("--num-cpus=1", head=False)
    monkeypatch.setenv("APET_NODE_TYPE", "other")
    other = changed(tmp_path / "other")
    todos = [todo(i) for i in range(10)]
    behave(store, {one.trial.trial_id: "sleep:2" for one in todos})  # 40 s: meanwhile a node comes up

    def late() -> None:
        monkeypatch.setenv("PYTHONPATH", f"{other}:{ROOT / 'tests' / 'support'}")
        start("--num-cpus=1", head=False)

    later = threading.Timer(1.0, late)
    later.start()
    summary = execute(todos, store, address=address, quiet=True, worker=WORKER)
    later.join()
    assert (summary.completed, summary.failed) == (10, 0)
    assert hosts(store) == {"same"}
    assert {row["attempt"] for row in store.attempts().to_pylist()} == {0}
    assert "its code is" in capfd.readouterr().err


def test_a_cluster_all_of_whose_nodes_have_other_code(
    start: Callable[..., str], store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start("--num-cpus=0")
    monkeypatch.setenv("PYTHONPATH", f"{changed(tmp_path / 'other')}:{ROOT / 'tests' / 'support'}")
    address = start("--num-cpus=1", head=False)
    with pytest.raises(
        ApetError, match=r"its code is \w{12}, and the driver's is \w{12}(.|\n)*No other machine is left"
    ):
        execute([todo(0)], store, address=address, quiet=True, worker=WORKER)
    assert not store.attempts().num_rows
