"""Workers that take packs from a stock and do nothing but pass the time."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

from orchestrator.planning.packing import Busy, PlannedPack, Stock


@dataclass
class Floor:
    """Equal workers on one clock.

    A pack takes the cost of its trials, less a share of it that grows with its size from 0 to ``gain``, and a worker
    that has another backbone loaded, or none, loads the pack's first.

    Args:
        workers: how many.
        gain: the share of its cost that a trial in an endless pack saves.
        load: seconds of a load, in units of cost.
    """

    workers: int
    gain: float = 0.0
    load: float = 0.0
    packs: list[PlannedPack] = field(default_factory=list)
    loads: int = 0
    end: float = 0.0
    idle: float = 0.0

    def seconds(self, weight: float, trials: int) -> float:
        """Seconds of a pack on a warm worker."""
        return weight * (1 - self.gain * (1 - 1 / trials))

    def run(self, stock: Stock) -> Floor:
        """Until the stock is empty."""
        free: list[tuple[float, int, str | None]] = [(0.0, worker, None) for worker in range(self.workers)]
        running: dict[int, tuple[float, float, PlannedPack]] = {}
        while stock:
            now, worker, warm = heapq.heappop(free)
            running.pop(worker, None)
            busy = [
                Busy(planned.warmth, planned.weight * (end - now) / (end - start))
                for start, end, planned in running.values()
            ]
            planned = stock.take(warm, busy, self.workers)
            assert planned is not None
            cold = planned.warmth != warm
            self.loads += cold
            self.packs.append(planned)
            end = now + cold * self.load + self.seconds(planned.weight, len(planned.members))
            running[worker] = now, end, planned
            heapq.heappush(free, (end, worker, planned.warmth))
        ends = [time for time, _, _ in free]
        self.end, self.idle = max(ends), max(ends) - min(ends)
        return self
