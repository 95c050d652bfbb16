"""Where the time of a step goes; who takes how long, in turns; what a step holds at its peak."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

import torch

STEP = "step"  # all of it
WARM_UP = 2  # steps that nobody looks at


class Laps:
    """A mark gives a name what ran since the mark before; on a GPU by events of its own, so that no mark waits."""

    def __init__(self, device: str) -> None:
        self._gpu = device == "cuda"
        self._marks: list[tuple[str, Any]] = []
        self.mark("")

    def mark(self, name: str) -> None:
        """Until here."""
        if self._gpu:
            now: Any = torch.cuda.Event(enable_timing=True)
            now.record()
        else:
            now = perf_counter()
        self._marks.append((name, now))

    def read(self) -> dict[str, float]:
        """Seconds by name, and of all under :data:`STEP`; waits for the device."""
        wait(self._gpu)
        found: dict[str, float] = {}
        for (_, before), (name, now) in zip(self._marks, self._marks[1:], strict=False):
            found[name] = found.get(name, 0.0) + self._between(before, now)
        return {**found, STEP: self._between(self._marks[0][1], self._marks[-1][1])}

    def _between(self, one: Any, other: Any) -> float:
        return one.elapsed_time(other) / 1000 if self._gpu else other - one


Step = Callable[[Laps], None]


def in_turns(contenders: Mapping[str, Step], device: str, repetitions: int) -> dict[str, list[dict[str, float]]]:
    """Laps of every contender's steps, one after the other, each repetition beginning with the next one.

    What else happens to a card, its heat included, then hits all of them.
    """
    names = list(contenders)
    took: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for i in range(repetitions):
        for name in (*names[i % len(names) :], *names[: i % len(names)]):
            laps = Laps(device)
            contenders[name](laps)
            took[name].append(laps.read())
    return took


def warmed(step: Step, device: str, others: int = 0) -> int:
    """Take the first steps: libraries choose kernels, memory is asked for.

    Args:
        others: bytes that lie there and aren't this contender's.

    Returns:
        bytes at the peak of the last of them without the others'; 0 on a CPU, where nobody counts.
    """
    for _ in range(WARM_UP):
        wait(device == "cuda")
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        step(Laps(device))
    wait(device == "cuda")
    return torch.cuda.max_memory_allocated() - others if device == "cuda" else 0


def held(device: str) -> int:
    """Bytes of tensors on the card; 0 on a CPU."""
    return torch.cuda.memory_allocated() if device == "cuda" else 0


def beside(device: str) -> int:
    """Bytes of the card that aren't torch's to give: CUDA's context, its libraries' workspaces; 0 on a CPU."""
    if device != "cuda":
        return 0
    free, total = torch.cuda.mem_get_info()
    return total - free - torch.cuda.memory_reserved()


def give_back() -> None:
    """Let go of what nobody holds any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def wait(gpu: bool) -> None:
    """Until the GPU is through with what it was given."""
    if gpu:
        torch.cuda.synchronize()
