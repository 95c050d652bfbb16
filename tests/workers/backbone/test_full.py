"""Full fine-tuning leaves the backbone bit for bit as it was, and the fingerprint that says so takes little memory."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import pytest
import torch
from tiny_for_tests import FAMILIES, frozen

from workers.backbone.full import CHUNK, fingerprint, joined, shard_fingerprint, trainable_backbone


def test_full_training_leaves_the_backbone_bit_for_bit() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4)).requires_grad_(False)
    before = fingerprint(model)
    with trainable_backbone(model) as params:
        optimizer = torch.optim.SGD(params, lr=0.1)
        model(torch.randn(3, 4)).square().sum().backward()
        optimizer.step()
        assert fingerprint(model) != before
    assert fingerprint(model) == before
    assert all(not p.requires_grad and p.grad is None for p in model.parameters())


def test_full_training_of_a_bf16_backbone_loses_no_small_step() -> None:
    """At 1e-5 most weights would round back to where they were; the backbone is bf16 again afterwards."""
    model = torch.nn.Linear(64, 64).to(torch.bfloat16).requires_grad_(False)
    before, start = fingerprint(model), model.weight.clone()
    with trainable_backbone(model) as params:
        optimizer = torch.optim.AdamW(params, lr=1e-5, weight_decay=0.0)
        for p in params:
            p.grad = torch.ones_like(p)
        optimizer.step()
        torch.testing.assert_close(model.weight, start.float() - 1e-5, rtol=0, atol=1e-7)
    assert model.weight.dtype == torch.bfloat16
    assert fingerprint(model) == before


def test_full_training_that_fails_leaves_the_backbone_too() -> None:
    model = torch.nn.Linear(4, 4).requires_grad_(False)
    before = fingerprint(model)

    def fail_halfway() -> None:
        with trainable_backbone(model) as params:
            params[0].data.add_(1)
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        fail_halfway()
    assert fingerprint(model) == before


def test_memory_that_runs_out_while_it_is_widened_leaves_the_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stays warm: no pack after it loads it again."""
    model, widen, calls = torch.nn.Linear(4, 4).to(torch.bfloat16).requires_grad_(False), torch.Tensor.float, [1, 2]
    before = fingerprint(model)

    def short_of_memory(x: torch.Tensor) -> torch.Tensor:
        if calls.pop() == 1:
            raise torch.OutOfMemoryError
        return widen(x)

    monkeypatch.setattr(torch.Tensor, "float", short_of_memory)
    with pytest.raises(torch.OutOfMemoryError), trainable_backbone(model):
        pass
    assert fingerprint(model) == before
    assert all(not p.requires_grad for p in model.parameters())


def test_a_fingerprint_sees_one_changed_bit_and_a_swap() -> None:
    model = torch.nn.Linear(8, 1, bias=False)
    before = fingerprint(model)
    weight = model.weight.data
    first = weight[0, 0].item()
    weight[0, 0] = torch.nextafter(weight[0, 0], torch.tensor(9.0))
    assert fingerprint(model) != before
    weight[0, 0] = first
    assert fingerprint(model) == before
    weight[0, [0, 1]] = weight[0, [1, 0]]
    assert fingerprint(model) != before


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", FAMILIES)
def test_the_fingerprints_of_shards_add_up_to_that_of_the_whole(name: str, dtype: torch.dtype) -> None:
    """Shards of unequal sizes, in any order; a swap of two of the same length shows."""
    model = frozen(name).model.to(dtype)
    whole = fingerprint(model)
    found: list[int] = []
    for p in model.parameters():
        flat, ends = p.detach().flatten(), [0, p.numel() // 3, p.numel() // 2, p.numel()]
        cuts = list(pairwise(ends))
        found += joined(shard_fingerprint(flat[start:end], start) for start, end in reversed(cuts))
    assert tuple(found) == whole
    flat = max(model.parameters(), key=lambda p: p.numel()).detach().flatten()
    half = len(flat) // 2
    shards, starts = (flat[:half], flat[half : 2 * half]), (0, half)
    right, swapped = (
        joined(shard_fingerprint(shard, start) for shard, start in zip(order, starts, strict=True))
        for order in (shards, shards[::-1])
    )
    assert right[0] == swapped[0]
    assert right[1] != swapped[1]


def test_chunks_are_those_of_one_tensor() -> None:
    """By the definition, over a tensor of more than two chunks."""
    values = torch.arange(2 * CHUNK + 7).to(torch.int16).view(torch.float16)
    model = torch.nn.ParameterList([torch.nn.Parameter(values, requires_grad=False)])
    bits = values.view(torch.int16).to(torch.int64)
    place = torch.arange(1, len(bits) + 1)
    assert fingerprint(model) == tuple(int(x) % 2**64 for x in (bits.sum(), (bits * place).sum()))


PEAK = """
import sys, torch
from workers.backbone import full, load
def kib(key):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(key))
model = torch.nn.ParameterList([torch.nn.Parameter(torch.ones(25_000_000, dtype=torch.bfloat16), requires_grad=False)])
work = {"fingerprint": full.fingerprint, "digest": load.digest}[sys.argv[1]]
work(torch.nn.Linear(9, 9))  # what is loaded at the first call
open("/proc/self/clear_refs", "w").write("5")
before = kib("VmRSS")
work(model)
print(kib("VmHWM") - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no system but Linux lets a process reset its peak")
@pytest.mark.parametrize("work", ["fingerprint", "digest"])
def test_its_memory_is_bounded(work: str) -> None:
    """25 million scalars of bf16: 48 MiB as they are, 572 MiB at 24 bytes each."""
    run = subprocess.run([sys.executable, "-c", PEAK, work], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 80 * 2**10
