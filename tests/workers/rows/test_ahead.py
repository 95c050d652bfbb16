"""The next batch is made while a step runs, where a device is worth it; the stream stays what it is."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import pytest
import torch
from encodings_for_tests import TINY, dataset

from workers.rows.ahead import Ahead
from workers.rows.batches import Batch, stream

ELSEWHERE = torch.device("meta")  # no memory and no copy, but not the CPU


def counted(made: list[int], start: int = 0) -> Iterator[Batch]:
    for number, batch in enumerate(stream(dataset("tiny-t5"), 0, 8, start)):
        made.append(number)
        yield batch


@pytest.mark.parametrize("start", [0, 5])
@pytest.mark.parametrize("device", [ELSEWHERE, torch.device("cpu")], ids=str)
def test_the_batches_are_those_of_the_stream(device: torch.device, start: int) -> None:
    batches, found = Ahead(counted([], start), device), []
    for step in range(9):
        found.append(next(batches))
        if step % 3:  # prepared or not, even twice
            batches.prepare()
            batches.prepare()
    wanted = list(islice(stream(dataset("tiny-t5"), 0, 8, start), 9))
    same = [(b.rows, b.tokens, b.asked, [x.shape for x in b.tensors.values()]) for b in found]
    assert same == [(b.rows, b.tokens, b.asked, [x.shape for x in b.tensors.values()]) for b in wanted]
    assert {x.device.type for b in found for x in b.tensors.values()} == {device.type}


def test_the_next_is_made_when_it_is_prepared_but_on_a_cpu_when_it_is_asked_for() -> None:
    for device, ready in ((ELSEWHERE, [0, 1]), (torch.device("cpu"), [0])):
        made: list[int] = []
        batches = Ahead(counted(made), device)
        next(batches)
        batches.prepare()
        assert made == ready
        next(batches)
        assert made == [0, 1]


@pytest.mark.parametrize("backbone", TINY)
def test_on_a_cpu_nothing_is_copied(backbone: str) -> None:
    batch = next(stream(dataset(backbone), 0, 8))
    assert next(Ahead(iter([batch]), torch.device("cpu"))) is batch
