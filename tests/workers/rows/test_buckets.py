"""Few widths on a GPU: padding is masked, so numbers stay what they are to rounding."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
import torch
from encodings_for_tests import TINY, dataset, encoding
from tiny_for_tests import CASES, answers, frozen, pack, randomised

from workers.rows.batches import BUCKET, IGNORED, Batch, bucket, collate, stream
from workers.rows.data import Rows
from workers.rows.encode import Dataset, encode

SOFT = {"operations": {"concat": 1}, "sites": {"concat": ("soft_tokens", "q")}, "tokens": 3, "count": 900}


def texts(backbone: str) -> Dataset:
    """Rows whose inputs, and targets where there are any, have many lengths."""
    if backbone == "tiny-bert":
        return dataset(backbone)
    how = encoding("samsum", backbone)
    rows = Rows([("cat " * (i % 17 + 1),) for i in range(50)], [("a dog " * (i % 9 + 1),) for i in range(50)])
    return Dataset(encode(rows, how), how)


def widths(batches: list[Batch], name: str) -> set[int]:
    return {b.tensors[name].shape[1] for b in batches if name in b.tensors}


@pytest.mark.parametrize("backbone", TINY)
def test_widths_are_multiples_or_that_of_the_longest_row(backbone: str) -> None:
    data = texts(backbone)
    exact, padded = (list(islice(stream(data, 0, 4, multiple=n), 26)) for n in (1, 16))
    longest = int(data.lengths.max())
    for name in ("input_ids", "attention_mask", "token_type_ids"):
        assert widths(padded, name) <= {16, 32, 48, 64, longest}
        assert max(widths(padded, name), default=0) <= longest
    assert len(widths(padded, "input_ids")) < len(widths(exact, "input_ids"))
    if backbone == "tiny-t5":
        most = int(data.rows.targets.lengths.max())
        assert widths(padded, "labels") <= {16, 32, most}
    assert [(b.rows, b.tokens, b.asked) for b in padded] == [(b.rows, b.tokens, b.asked) for b in exact]


@pytest.mark.parametrize("multiple", [16, 64])
@pytest.mark.parametrize("backbone", TINY)
def test_a_padded_batch_has_the_same_losses_gradients_and_answers(backbone: str, multiple: int, trial: Any) -> None:
    data = texts(backbone)
    found, shapes = [], []
    with pack(frozen(backbone), [trial(backbone, **case) for case in (*CASES, SOFT)]) as (model, modules):
        randomised(modules)
        for n in (1, multiple):
            tensors = dict(collate(data, [0, 1, 2], train=True, multiple=n).tensors)
            losses = model(tensors)
            gradients = torch.autograd.grad(losses.sum(), list(modules.thetas))
            asked = dict(collate(data, [0, 1, 2], train=False, multiple=n).tensors)
            found.append((losses.detach(), gradients, answers(model, asked)))
            shapes.append([tensors["input_ids"].shape, *([tensors["labels"].shape] if "labels" in tensors else [])])
    assert all(a != b for a, b in zip(*shapes, strict=True))
    (losses, gradients, said), (again, after, repeated) = found
    torch.testing.assert_close(losses, again, rtol=1e-5, atol=1e-5)
    for a, b in zip(gradients, after, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert said == repeated


def test_a_cpu_pads_to_the_longest_row_alone() -> None:
    assert bucket(torch.device("cpu")) == 1
    assert bucket(torch.device("cuda")) == BUCKET


@pytest.mark.parametrize("backbone", TINY)
def test_what_is_asked_is_known_without_looking_at_a_device(backbone: str) -> None:
    batch = next(stream(texts(backbone), 0, 4))
    labels = batch.tensors.get("labels")
    counted = [1] * 4 if labels is None else [int((row != IGNORED).sum()) for row in labels]
    assert list(batch.asked) == counted
