"""A worker on a CPU keeps freed memory: no step faults the same pages in again."""

import subprocess
import sys

import pytest

from workers import allocator

FAULTS = """
import resource, sys, torch
from trials import Store
from trials.setup import Setup
from workers.worker import Worker
if sys.argv[1] == "worker":
    Worker(Store(sys.argv[2]))._obey(Setup("cpu"))
def step():
    a = torch.ones(10 * 2**20)  # 40 MiB
    b = a + 1
for _ in range(10):  # alignment scatters the first ones
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(who: str, store: str) -> int:
    run = subprocess.run([sys.executable, "-c", FAULTS, who, store], capture_output=True, text=True, check=True)
    return int(run.stdout)


@pytest.mark.skipif(allocator._glibc() is None, reason="another C library than glibc")
def test_a_worker_keeps_what_torch_frees(tmp_path):
    assert faults("worker", str(tmp_path)) < faults("nobody", str(tmp_path)) / 2


@pytest.mark.skipif(allocator._glibc() is None, reason="another C library than glibc")
def test_with_a_backbone_in_shards_it_returns_what_a_layer_leaves(tmp_path):
    """Also where memory was kept before: of another pack on the same worker."""
    program = """
import torch
from workers import allocator
def resident():
    return next(int(x.split()[1]) for x in open("/proc/self/status") if x.startswith("VmRSS"))  # KiB
allocator.keep_freed()
allocator.return_large()
small, before = [], resident()
for size in range(1, 40):
    large = torch.ones(size * 2**18)
    small.append(torch.ones(2**12))
    del large
print(resident() - before < 4 * 2**10)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["True"]


@pytest.mark.skipif(allocator._glibc() is None, reason="another C library than glibc")
def test_a_worker_that_forgets_its_backbone_gives_the_memory_back(tmp_path):
    program = """
import sys, torch
from trials import Store
from trials.setup import Setup
from workers.worker import Worker
def resident():
    return next(int(x.split()[1]) for x in open("/proc/self/status") if x.startswith("VmRSS"))  # KiB
worker = Worker(Store(sys.argv[1]))
worker._obey(Setup("cpu"))
held = torch.ones(64 * 2**20)
full = resident()
del held
kept = resident()
worker.forget()
print(full - kept < 2**10, full - resident() > 200 * 2**10)
"""
    run = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["True", "True"]
