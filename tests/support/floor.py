"""Workers that take packs from a stock and only pass the time, and the least time that it can take."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil

from orchestrator.planning.packing import Busy, PlannedPack, Stock, Todo, cost


@dataclass
class Floor:
    """Equal workers on one clock.

    A pack of K trials of cost c takes K c (1 - gain (1 - 1/K)) seconds: nothing is saved by a trial alone, and ``gain``
    of the cost in an endless pack. A worker that has another backbone loaded, or none, loads the pack's first.

    Args:
        workers: how many.
        gain: from 0 to 1.
        load: seconds of a load.
        packs: that were taken, in order.
        loads: how many.
        end: when the last worker was through.
    """

    workers: int
    gain: float = 0.0
    load: float = 0.0
    packs: list[PlannedPack] = field(default_factory=list)
    loads: int = 0
    end: float = 0.0

    def run(self, stock: Stock) -> Floor:
        """Until the stock is empty; whoever is idle asks at once."""
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
            assert planned is not None, "something is left, and a worker is idle"
            self.packs.append(planned)
            self.loads += planned.warmth != warm
            end = now + self.seconds(planned.weight, len(planned.members)) + self.load * (planned.warmth != warm)
            running[worker] = now, end, planned
            heapq.heappush(free, (end, worker, planned.warmth))
        self.end = max(time for time, _, _ in free)
        return self

    def seconds(self, weight: float, trials: int) -> float:
        """Seconds of a pack on a warm worker."""
        return weight * (1 - self.gain * (1 - 1 / trials))

    def bound(self, todos: Sequence[Todo], size: int) -> float:
        """No schedule ends before.

        - All packs are as full as can be, and all workers work all the time.
        - Of the kW + 1 longest trials one of W workers gets k + 1.
        - What is left of the whole time after a load is all that a worker does for a backbone, so a backbone with
          more work is loaded by more workers.
        """
        alike = Counter((one.warmth, one.trial.pack_key, one.trial.method.tokens, cost(one.trial)) for one in todos)
        work: dict[str, float] = defaultdict(float)
        for (warmth, *_, each), n in alike.items():
            for trials in (*[size] * (n // size), *([n % size] if n % size else [])):
                work[warmth] += self.seconds(each * trials, trials)
        longest = sorted((self.seconds(cost(one.trial), size) for one in todos), reverse=True)
        ends = [self.load + (k + 1) * longest[k * self.workers] for k in range(ceil(len(longest) / self.workers))]
        end = max(*ends, sum(work.values()) / self.workers)
        while True:
            loads = sum(ceil(some / (end - self.load) - 1e-9) for some in work.values())
            needed = (sum(work.values()) + self.load * loads) / self.workers
            if needed <= end * (1 + 1e-9):
                return end
            end = min(needed, end * 1.001)
