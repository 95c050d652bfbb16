"""Rows are spread over ranks and put together exactly: few rows, ranks without any, texts that end at other steps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from encodings_for_tests import dataset
from gangs import Run, gang_runs, same
from ranks import on_ranks
from tiny_for_tests import FAMILIES
from torch import Tensor, nn
from trials_for_tests import make_trial
from worker_for_tests import given, pack_of, rows_of, run

from trials import backbones
from trials.pack import Pack
from trials.store.store import Store
from trials.trial import Source, TaskRef, Training
from workers.backbone import load
from workers.gang.gang import Gang
from workers.modules.generation import Limit, greedy
from workers.modules.model import PackModel
from workers.pack.evaluate import answers, gathered
from workers.rows.batches import cut, parts, stream
from workers.worker import Worker


def of(rank: int, ranks: int) -> Gang:
    """A rank that asks nobody."""
    gang = Gang()
    gang.rank, gang.ranks = rank, ranks
    return gang


@pytest.mark.parametrize("n", range(1, 10))
@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_every_row_is_on_one_rank_and_all_ranks_have_as_many_passes(n: int, ranks: int, rows: int) -> None:
    cuts = [cut(n, rows, of(rank, ranks)) for rank in range(ranks)]
    assert [i for one in cuts for c, counts in one if counts for i in range(n)[c]] == list(range(n))
    assert len({len(one) for one in cuts}) == 1
    sizes = [sum(len(range(n)[c]) for c, counts in one if counts) for one in cuts]
    assert max(sizes) - min(sizes) <= 1
    assert all(1 <= len(range(n)[c]) <= rows for one in cuts for c, _ in one)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("ranks", [2, 3, 8])
def test_shares_of_all_ranks_are_those_of_the_whole_batch(name: str, ranks: int) -> None:
    batch = next(stream(dataset(name, 50), 0, 5))
    width = batch.tensors["input_ids"].shape[1]
    total, seen = 0.0, 0
    for rank in range(ranks):
        for tensors, share in parts(batch, 2, of(rank, ranks)):
            assert tensors["input_ids"].shape[1] == width, "padding is kept"
            total += share
            seen += len(tensors["input_ids"]) if share else 0
            if "labels" in tensors:
                flat = tensors["labels"].flatten()
                assert torch.equal(flat[tensors["target_at"]], flat[flat != -100])
                assert share in (0.0, pytest.approx(len(tensors["target_at"]) / sum(batch.asked)))
    assert (total, seen) == (pytest.approx(1.0), 5)


def own_and_all(gang: Gang, name: str, ns: Sequence[int], batch_size: int) -> list[Any]:
    """The rows that this rank has answered, and all answers, of some data sets."""
    backbone = load.load(backbones.get(name), f"random:{name}")
    model = PackModel(backbone, None, label_words=[5, 6] if name == "tiny-bert" else None)
    found = []
    for n in ns:
        data = dataset(name, n)
        mine = answers(model, replace(data, how=replace(data.how, max_generated_length=4)), batch_size, gang)
        found.append((sorted(mine[0]), gathered(mine, gang)))
    return found


@pytest.mark.parametrize("name", FAMILIES)
def test_seven_rows_and_one_on_two_ranks(name: str) -> None:
    alone = own_and_all(Gang(), name, (7, 1, 20), 3)
    ranks = on_ranks(2, own_and_all, name, (7, 1, 20), 3)
    for n, whole, *both in zip((7, 1, 20), alone, *ranks, strict=True):
        assert whole[0] == list(range(n))
        assert [every for _, every in both] == [whole[1]] * 2
        assert sorted(row for rows, _ in both for row in rows) == list(range(n)), "each row once"
        assert sorted(len(rows) for rows, _ in both) == [n // 2, n - n // 2]


class Script(nn.Module):
    """Says a line a row, token by token, and counts its passes."""

    config = SimpleNamespace(is_encoder_decoder=False)

    def __init__(self, lines: Tensor) -> None:
        super().__init__()
        self.lines, self.passes = lines, 0

    def batch_select_indices(self, rows: Tensor) -> None:
        """As a cache does."""
        self.lines = self.lines[rows]

    def forward(self, **_: Any) -> Any:
        self.passes += 1
        logits = nn.functional.one_hot(self.lines[:, self.passes - 1], 50).float()
        return SimpleNamespace(logits=logits[:, None], past_key_values=self)


ENDS, PADDING = 1, 0
LINES = ([[7, 1, 9, 9, 9], [8, 8, 1, 9, 9]], [[5, 6, 7, 8, 1], [1, 9, 9, 9, 9]])  # the longest text is on rank 1


def said(gang: Gang, k: int) -> tuple[list[list[int]], int]:
    """The tokens of this rank's rows, in k slices that say the same, and how many passes it took part in."""
    script = Script(torch.tensor(LINES[gang.rank] * k))
    ones = torch.ones(2 * k, 1, dtype=torch.int64)
    rows = {"input_ids": ones, "attention_mask": ones}
    tokens = greedy(script, rows, k, Limit(9, ENDS, PADDING), lambda slices: None, some=gang.any)
    return tokens.tolist(), script.passes


@pytest.mark.parametrize("k", [1, 3])
def test_ranks_that_need_each_other_go_on_until_the_last_text_ends(k: int) -> None:
    ranks = on_ranks(2, said, k)
    assert [passes for _, passes in ranks] == [5, 5]
    assert ranks[0][0] == [[7, 1, 0, 0, 0], [8, 8, 1, 0, 0]] * k
    assert ranks[1][0] == [[5, 6, 7, 8, 1], [1, 0, 0, 0, 0]] * k
    assert said(Gang(), k) == ([[7, 1, 0], [8, 8, 1]] * k, 3), "alone it ends with its own"


def few_rows(folder: Path, trial: Any, batch_size: int) -> list[Pack]:
    """Seven rows a split, so that in every epoch there are batches of one or of three; texts with two metrics too."""
    for split in ("train", "validation", "test"):
        lines = (folder / f"{split}.jsonl").read_text().splitlines()[:7]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    fields = {"training": Training(steps=4, batch_size=batch_size, eval_every=2)}
    made = [[given(trial(name, count=n, trial=fields), folder) for n in (300, 301)] for name in FAMILIES]
    chats = folder.parent / "chats"
    chats.mkdir(exist_ok=True)
    rows = [{"dialogue": f"Ann: {'so ' * n}late? Ben: yes", "summary": f"Ben is late {n}."} for n in range(7)]
    for split in ("train", "validation", "test"):
        (chats / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = TaskRef("samsum", Source("folder", "x", "0"))
    told = {"task": task, "training": Training(4, batch_size, 2, None, "auto", 48, 6)}
    spoken = [given(make_trial("tiny-t5", count=n, trial=told), chats) for n in (300, 301)]
    return [*(pack_of(folder, *some) for some in made), pack_of(chats, *spoken)]


@pytest.mark.parametrize("batch_size", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_packs_of_few_rows_on_two_ranks(batch_size: int, folder: Path, tmp_path: Path, trial: Any) -> None:
    """Seven rows in batches of two: the last one leaves a rank with nothing."""
    whole, shared = Store(tmp_path / "whole", create=True), Store(tmp_path / "shared", create=True)
    some, worker = few_rows(folder, trial, batch_size), Worker(whole)
    for pack in some:
        assert [e.state for e in run(worker, pack)] == ["completed"] * 2
    gang_runs(2, Run(shared, some))
    for member in (m for pack in some for m in pack.members):
        same(shared, whole, member)
    assert rows_of(whole)[some[-1].members[0].trial.trial_id]["metrics"], "secondary ones"
