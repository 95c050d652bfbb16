"""What stays warm from pack to pack, and what a row says of how its pack ran."""

from __future__ import annotations

import gc
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_for_tests import FAMILIES
from weights_for_tests import from_place, on_weights, write_weights
from worker_for_tests import pack_of, rows_of, run, scores

from trials.errors import ApetError
from trials.setup import Setup
from trials.store.store import Store
from trials.trial import Training
from workers import allocator
from workers.backbone import load as loading
from workers.backbone.full import fingerprint
from workers.backbone.load import digest
from workers.engines.plain import PlainEngine
from workers.environment import peak_memory_bytes, reset_peak_memory
from workers.modules.model import PackModel
from workers.worker import Worker

families = pytest.mark.parametrize("name", FAMILIES)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Where weights were loaded from, load by load."""
    found: list[str] = []
    load = loading.load
    monkeypatch.setattr(loading, "load", lambda ref, place, *args: (found.append(place), load(ref, place, *args))[1])
    return found


def test_a_change_of_head_loads_nothing(folder: Path, tmp_path: Path, trial: Any, loads: list[str]) -> None:
    """Each head gives the numbers that it gives on a worker of its own."""
    plain = trial("tiny-bert", count=300)
    scaled = replace(plain.backbone, head_scale=0.3)
    trials = [plain, *(replace(plain, backbone=scaled, head=head) for head in ("frozen", "trained")), plain]
    store = Store(tmp_path / "warm", create=True)
    worker = Worker(store)
    for one in trials:
        assert [e.state for e in run(worker, pack_of(folder, one))] == ["completed"]
    assert loads == ["random:tiny-bert"]
    for one in trials[:3]:
        fresh = Store(tmp_path / str(one.head), create=True)
        run(Worker(fresh), pack_of(folder, one))
        assert scores(store, one) == scores(fresh, one)
        sizes = [rows_of(place)[one.trial_id]["backbone_parameters"] for place in (store, fresh)]
        assert sizes[0] == sizes[1]


@families
def test_the_same_content_from_another_place_loads_nothing(
    name: str, folder: Path, tmp_path: Path, trial: Any, loads: list[str]
) -> None:
    here = write_weights(name, tmp_path / "here")
    there = Path(shutil.copytree(here, tmp_path / "there"))
    one, two = on_weights(trial(name, count=300), here), on_weights(trial(name, count=301), there)
    store = Store(tmp_path / "store", create=True)
    worker = Worker(store)
    run(worker, from_place(pack_of(folder, one), here))
    run(worker, from_place(pack_of(folder, two), there))
    assert loads == [f"folder:{here}"]
    assert [rows_of(store)[t.trial_id]["weights_source"] for t in (one, two)] == [f"folder:{here}", f"folder:{there}"]
    assert {row["state"] for row in rows_of(store).values()} == {"completed"}
    renamed = replace(two, backbone=replace(two.backbone, name="bert-base"))  # published with a pooler
    named = worker.backbone(from_place(pack_of(folder, renamed), there))
    assert (named.ref.name, named.weights_source) == ("bert-base", f"folder:{there}")
    pooler = 64 * 64 + 64
    assert named.parameters - worker.backbone(from_place(pack_of(folder, two), there)).parameters == pooler
    assert len(loads) == 1


@families
def test_other_content_or_precision_is_another_backbone(
    name: str, folder: Path, tmp_path: Path, trial: Any, loads: list[str]
) -> None:
    other = "tiny-t5" if name != "tiny-t5" else "tiny-bert"
    worker = Worker(Store(tmp_path / "store", create=True))
    run(worker, pack_of(folder, trial(name)))
    run(worker, pack_of(folder, trial(name, trial={"training": Training(steps=1, precision="bf16")})))
    run(worker, pack_of(folder, trial(other)))
    assert loads == [f"random:{name}", f"random:{name}", f"random:{other}"]
    assert {r["precision"] for r in rows_of(worker.store).values()} == {"fp32", "bf16"}


@families
def test_a_backbone_that_a_pack_has_changed_is_loaded_anew(
    name: str, folder: Path, tmp_path: Path, trial: Any, loads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, forward = Worker(Store(tmp_path / "store", create=True)), PackModel.forward

    def spoil(self: PackModel, batch: Any) -> Any:
        next(self.backbone.parameters()).data[0, 0] += 1
        return forward(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(PackModel, "forward", spoil)
        run(worker, pack_of(folder, trial(name, count=300)))
    one, fresh = trial(name, count=301), Store(tmp_path / "fresh", create=True)
    run(worker, pack_of(folder, one))
    run(Worker(fresh), pack_of(folder, one))
    assert scores(worker.store, one) == scores(fresh, one)
    assert len(loads) == 3


def test_the_next_row_takes_the_loading_of_a_pack_that_wrote_none(folder: Path, tmp_path: Path, trial: Any) -> None:
    one, store = trial("tiny-bert"), Store(tmp_path / "store", create=True)
    worker = Worker(store)
    assert [e.state for e in run(worker, pack_of(folder, one), should_stop=lambda: True)] == ["interrupted"]
    (ended,) = run(worker, pack_of(folder, one))
    assert ended.load_s == rows_of(store)[one.trial_id]["load_s"] > 0


@families
def test_a_row_says_how_its_pack_ran(
    name: str, folder: Path, tmp_path: Path, trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it was: one process, the threads that torch had, the micro-batch that fitted, whatever was asked for."""
    forward = PackModel.forward

    def short_of_memory(self: PackModel, batch: Any) -> Any:
        if len(batch["input_ids"]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, batch)

    store = Store(tmp_path / "store", create=True)
    worker = Worker(store)
    names = ("devices", "ranks", "micro_batch", "threads")
    for count, setup, want in (
        (300, Setup("cpu", threads=2), (1, 1, None, 2)),
        (301, Setup("cpu", micro_batch=3), (1, 1, 3, 1)),
        (302, Setup("cpu", micro_batch=64, threads=1), (1, 1, None, 1)),
    ):
        one = trial(name, count=count)
        run(worker, replace(pack_of(folder, one), setup=setup))
        assert tuple(rows_of(store)[one.trial_id][x] for x in names) == want
    monkeypatch.setattr(PackModel, "forward", short_of_memory)
    run(worker, pack_of(folder, one := trial(name, count=303)))
    assert rows_of(store)[one.trial_id]["micro_batch"] == 2


def test_an_unknown_engine_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(ApetError, match="did you mean deepspeed"):
        Worker(Store(tmp_path / "store"), engine="deepsped")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no system but Linux lets a process reset its peak")
@families
def test_a_small_pack_after_a_large_one_has_a_peak_of_its_own(
    name: str, folder: Path, tmp_path: Path, trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = PackModel.forward

    def hungry(self: PackModel, batch: Any) -> Any:
        torch.ones(100 * 2**18)  # 100 MiB
        return forward(self, batch)

    store = Store(tmp_path / "store", create=True)
    worker = Worker(store)
    run(worker, pack_of(folder, trial(name, count=299)))  # what is loaded once is there
    with monkeypatch.context() as patch:
        patch.setattr(PackModel, "forward", hungry)
        run(worker, pack_of(folder, large := trial(name, count=300)))
    run(worker, pack_of(folder, small := trial(name, count=301)))
    peaks = [rows_of(store)[one.trial_id]["peak_memory_bytes"] for one in (large, small)]
    assert peaks[0] - peaks[1] > 80 * 2**20


def test_peak_memory_is_some_where_it_cannot_be_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*args: Any, **kwargs: Any) -> Any:
        raise OSError("no /proc")

    monkeypatch.setattr(Path, "write_text", none)
    monkeypatch.setattr(Path, "read_text", none)
    reset_peak_memory("cpu")
    assert peak_memory_bytes("cpu") > 2**20


@pytest.mark.slow
@families
def test_a_hundred_packs_leave_a_warm_worker_as_it_was(name: str, folder: Path, tmp_path: Path, trial: Any) -> None:
    """Memory, files and hooks behind every pack; a kept module or graph would add up. Some run out of memory."""
    worker, step = Worker(Store(tmp_path / "store", create=True), engine="plain"), PlainEngine.step
    resident, files, hooks, bits = [], [], [], set()
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("bitfit", {}),
        ("lora", {}),
        ("apet", {"count": 300}),
        ("prompt", {"tokens": 2}),
    ]

    def full(self: PlainEngine) -> None:
        if len(self._optimizer.param_groups) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        step(self)

    for n in range(100):
        fields = {"train_seed": n, "training": Training(steps=2, batch_size=4)}
        members = [trial(name, method, trial=fields, **sizes) for method, sizes in kinds[n % 2 :]]
        members += [trial(name, count=40, trial={**fields, "learning_rate": 1e37})] * (n % 5 == 0)
        with pytest.MonkeyPatch.context() as patch:
            if n % 10 == 0:
                patch.setattr(PlainEngine, "step", full)
            states = [e.state for e in run(worker, pack_of(folder, *members))]
        assert set(states) <= {"completed", "diverged"}
        assert worker._warm is not None
        model = worker._warm.backbone.model
        bits.add(
            (fingerprint(model), digest(model))
            if n % 10 == 9
            else (fingerprint(model), worker._warm.backbone.weights_digest)
        )
        hooks.append(sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()))
        files.append(len(list(Path("/proc/self/fd").iterdir())))
        allocator.give_back()
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        resident.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)
    assert len(bits) == 1
    assert set(hooks) == {hooks[0]}
    assert max(files[10:]) <= max(files[:10]), files
    early, late = sorted(resident[20:40])[10], sorted(resident[80:])[10]
    assert late - early < 4.0, f"MiB behind each pack: {[round(x) for x in resident]}"
