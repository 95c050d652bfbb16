"""What is kept of rows that are scored again: used, equal to the bit, bounded, and gone when memory is short."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from depths_for_tests import ENCODER, OPERATIONS, B, at, seen, tall
from tiny_for_tests import FAMILIES, answers, batch, pack, randomised
from trials_for_tests import make_trial
from worker_for_tests import pack_of, rows_of, run

from trials.modules.depth import lowest_block
from trials.store.store import Store
from trials.trial import Training, Trial
from workers import worker as workers
from workers.backbone.load import Backbone, blocks
from workers.modules.kept import MOST, SHARE, Kept
from workers.modules.model import PackModel
from workers.pack.memory import OutOfMemoryError
from workers.pack.portions import Portions
from workers.worker import Worker

PLENTY = 2**40
BLOCKS = {"tiny-bert": 3, "tiny-t5": 5}  # not BLOOM, whose lower blocks are needed for their cache
ENCODED = list(BLOCKS)


def states(n: int) -> dict[str, torch.Tensor]:
    return {"hidden_states": torch.zeros(n, dtype=torch.uint8)}


def scored(model: PackModel, name: str, rows: Any = "rows") -> Any:
    if name == "tiny-bert":
        return model.predict(batch(name), None, rows).tolist()
    return model.generate(batch(name), 5, rows)


@pytest.mark.parametrize("name", ENCODED)
def test_blocks_below_are_not_run_again_and_no_bit_changes(name: str) -> None:
    """At every place, with θ that moves and a trial that leaves in between."""
    for place in range(1, BLOCKS[name]):
        trials = [at(name, place, OPERATIONS["mixed"]), *[at(name, place, OPERATIONS["add"])] * 2]
        with pack(tall(name), trials) as (model, modules), seen(tall(name)) as rows:
            model.kept = Kept(lambda: PLENTY)
            for time in range(3):
                randomised(modules)
                if time == 2:
                    modules.active = [0, 2]
                rows.clear()
                given = scored(model, name)
                k, encoder = len(modules.active), ENCODER
                run_again = [B] * min(place, encoder) if time == 0 else []
                assert rows[: len(run_again) + max(encoder - place, 0)] == run_again + [k * B] * max(encoder - place, 0)
                assert len(rows) <= len(run_again) + max(encoder - place, 0) + (0 if name == "tiny-bert" else 5 * 2)
                assert scored(model, name, None) == given == answers(model, batch(name))


def test_a_place_that_rises_is_taken_anew() -> None:
    trials = [at("tiny-bert", place, OPERATIONS["concat"]) for place in (1, 2)]
    with pack(tall("tiny-bert"), trials) as (model, modules), seen(tall("tiny-bert")) as rows:
        model.kept = Kept(lambda: PLENTY)
        randomised(modules)
        for active, expected in (([0, 1], [B, 2 * B, 2 * B]), ([0, 1], [2 * B] * 2), ([1], [B, B, B]), ([1], [B])):
            modules.active = active
            rows.clear()
            given = scored(model, "tiny-bert")
            assert rows == expected
            assert given == scored(model, "tiny-bert", None)


@pytest.mark.parametrize("name", FAMILIES)
def test_training_and_a_touched_bottom_keep_nothing(name: str) -> None:
    with pack(tall(name), [at(name, 1, OPERATIONS["add"]), at(name, 0, OPERATIONS["add"])]) as (model, modules):
        model.kept = Kept(lambda: PLENTY)
        modules.active = [0]
        model(batch(name)).sum().backward()
        assert not model.kept.clear()
    with pack(tall(name), [make_trial(name, "prompt", tokens=2, trial={"backbone": tall(name).ref})]) as (model, _):
        model.kept = Kept(lambda: PLENTY)
        scored(model, name)
        assert not model.kept.clear()


def test_a_share_of_what_is_free_and_no_more() -> None:
    free = 1000 * SHARE
    kept = Kept(lambda: free)
    for i in range(4):
        kept.put(i, (0, 1), states(300))
        free -= 300 if kept.get(i, (0, 1)) else 0
    assert [bool(kept.get(i, (0, 1))) for i in range(4)] == [True, True, True, False]
    free += 300
    kept.put(0, (0, 2), states(350))  # in place of the 300
    assert not kept.get(0, (0, 1))
    assert kept.get(0, (0, 2))
    free = 0
    kept.put(5, (0, 1), states(1))
    assert not kept.get(5, (0, 1))
    huge = {"hidden_states": torch.empty(MOST + 1, dtype=torch.uint8, device="meta")}
    kept = Kept(lambda: PLENTY)
    kept.put(0, (0, 1), huge)
    assert not kept.clear()


def test_it_is_of_one_backbone_and_its_rows() -> None:
    backbone, other, rows = object(), object(), object()
    kept = Kept(lambda: PLENTY).of(backbone, rows)
    kept.put("a", (0, 1), states(8))
    assert kept.of(backbone, rows).get("a", (0, 1))
    assert not kept.of(other, rows).get("a", (0, 1))
    kept.put("a", (0, 1), states(8))
    assert not kept.of().get("a", (0, 1))


def test_it_goes_first_when_memory_runs_out() -> None:
    kept, tried = Kept(lambda: PLENTY), []
    kept.put("a", (0, 1), states(8))

    def work(slices: Sequence[int], rows: int) -> list[int]:
        tried.append(rows)
        if kept.get("a", (0, 1)) or rows > 4:
            raise torch.OutOfMemoryError
        return [rows]

    assert Portions(8).fit([0], work, let_go=kept.let_go) == [4]
    assert tried == [8, 8, 4]
    kept = Kept(lambda: PLENTY)
    kept.put("a", (0, 1), states(8))
    assert Portions(1).fit([0], work, let_go=kept.let_go) == [1]


def test_rows_that_never_fit_are_not_tried_for_ever() -> None:
    """Scoring keeps the short ones, which come first, and runs out at the longest, every time anew."""
    owners, tried = (object(), object()), list[tuple[int, int]]()
    kept = Kept(lambda: PLENTY).of(*owners)

    def work(slices: Sequence[int], rows: int) -> list[int]:
        tried.append((len(slices), rows))
        assert len(tried) < 9, "the same again"
        kept.put("short", (0, 1), states(8))
        raise torch.OutOfMemoryError

    with pytest.raises(OutOfMemoryError):
        Portions(2).fit([0, 1], work, let_go=kept.let_go)
    assert tried == [(2, 2), (2, 2), (1, 2), (1, 1)]
    kept.of(*owners).put("short", (0, 1), states(8))
    assert not kept.get("short", (0, 1)), "the next pack doesn't try either"
    kept.of(object()).put("short", (0, 1), states(8))
    assert kept.get("short", (0, 1)), "other rows may be shorter"


def top(one: Trial, count: int) -> Trial:
    """The trial with its scalars in its backbone's second block."""
    for seed in range(100):
        method = replace(one.method, placement="adjacent", count=count)
        found = replace(one, method=method, position_seed=seed)
        if lowest_block(found) == 1:
            return found
    raise AssertionError


@pytest.mark.parametrize("name", ENCODED)
def test_a_worker_keeps_from_evaluation_to_evaluation_and_from_pack_to_pack(
    name: str, folder: Path, tmp_path: Path, trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same rows in the store as where no memory is free; one that is gone for another pack's sake is made again."""
    training = Training(steps=4, batch_size=8, eval_every=1)
    packs = [
        [
            top(trial(name, operations={"concat": 1}, trial={"training": training, "train_seed": seed}), count=n)
            for n in (200, 300)
        ]
        for seed in (0, 1)
    ]
    found, calls = {}, {}
    for free in (PLENTY, 0):
        monkeypatch.setattr(workers, "free_bytes", lambda device, free=free: free)
        store = Store(tmp_path / str(free), create=True)
        worker, calls[free] = Worker(store), []
        for members in packs:
            packed = pack_of(folder, *members)
            with first_block(worker.backbone(packed)) as rows:
                assert [e.state for e in run(worker, packed)] == ["completed"] * 2
            calls[free].append(len(rows))
        columns = ("validation_score", "test_score", "best_step", "train_loss", "tokens")
        found[free] = {key: [row[c] for c in columns] for key, row in rows_of(store).items()}
    assert found[PLENTY] == found[0]
    steps, batches = 4, 2  # sixteen rows in batches of eight, in validation and in test
    untrained = batches  # scored once for both packs, which draw no head
    assert calls[0] == [untrained + steps + batches * (4 + 1), steps + batches * (4 + 1)]
    assert calls[PLENTY] == [untrained + steps + batches * (1 + 1), steps]


def test_scoring_that_runs_out_of_memory_at_its_longest_rows_goes_on_in_halves(
    folder: Path, tmp_path: Path, trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = Training(steps=2, batch_size=8, eval_every=1)
    members = [top(trial("tiny-bert", operations={"concat": 1}, trial={"training": training}), n) for n in (200, 300)]
    predict, passes = PackModel.predict, list[int]()

    def short_of_memory(self: PackModel, *args: Any) -> Any:
        passes.append(len(self.active))
        assert len(passes) < 30, "the same again"
        found = predict(self, *args)
        if len(passes) % 2 == 0 and len(self.active) > 1:  # the second of two batches
            raise torch.OutOfMemoryError
        return found

    monkeypatch.setattr(workers, "free_bytes", lambda device: PLENTY)
    monkeypatch.setattr(PackModel, "predict", short_of_memory)
    ended = run(Worker(Store(tmp_path / "store", create=True)), pack_of(folder, *members))
    assert [e.state for e in ended] == ["completed"] * 2
    untrained = [1] * 2
    assert passes == untrained + [2] * 4 + [1] * 4 * 3, (
        "without what is kept, then one trial a pass: two evaluations, one test"
    )


@contextmanager
def first_block(backbone: Backbone) -> Iterator[list[int]]:
    """The rows of every pass through the first block."""
    rows: list[int] = []
    handle = blocks(backbone)[0].register_forward_hook(lambda block, args, out: rows.append(len(args[0])))
    yield rows
    handle.remove()
