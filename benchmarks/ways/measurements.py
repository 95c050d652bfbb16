"""The measurements of ``benchmarks/sweep.py``, each a few processes and what they gave."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import perf_counter, time
from typing import Any

from trials import Store, Sweep, Trial
from ways import ours, processes
from ways.arithmetic import as_many, longest_gap, ms_each, per_hour
from ways.kept import Figures


@dataclass
class Bench:
    """One call: what to measure, and where its files lie."""

    args: Namespace
    folder: Path

    def __post_init__(self) -> None:
        self.workers: int = self.args.workers
        self.file = self.folder / "compared.yaml"
        self.sweep = ours.compared(self.file, self.args.trials, self.args.steps)

    @cached_property
    def few(self) -> list[Trial]:
        """Those of them that the slow ways do."""
        return ours.some(self.sweep, self.args.trials_slow)

    @cached_property
    def job(self) -> Path:
        """The few for others."""
        return ours.job(self.folder, self.sweep, self.few)

    def authors(self) -> Figures:
        """A process a trial."""
        commands = [("-m", "ways.authors", str(self.job), str(i)) for i in range(len(self.few))]
        start = perf_counter()
        scores = [processes.last_line(out) for out in processes.at_once(self.workers, commands)]
        return self._few(perf_counter() - start, scores)

    def tune(self) -> Figures:
        """Ray Tune, its start shared by as many trials as ours."""
        words = ("-m", "ways.tune_peft", str(self.job), str(self.workers), self.args.tune_sampling)
        start = time()
        found = processes.last_line(processes.python(*words))
        wall, training = time() - start, found["ended"] - found["began"]
        few, many = len(self.few), self.args.trials
        seconds = as_many(few, many, training, wall - training)
        return {**self._few(training, found["scores"]), "start_s": wall - training, "per_hour": per_hour(many, seconds)}

    def cold(self) -> Figures:
        """Packs of one, a process each."""
        folder = self.folder / "cold"
        folder.mkdir()
        return self._ours(lambda: ours.cold(folder, self.sweep, self.workers))

    def warm(self) -> Figures:
        """Packs of one on warm workers."""
        return self._driven("warm", "--set", "resources.pack_size=1")

    def auto(self, repetition: int) -> Figures:
        """What is chosen."""
        return self._driven("auto", repetition=repetition)

    def floor(self) -> Figures:
        """Arithmetic alone, in as many processes as there are workers."""
        share = max(1, self.args.trials_floor // self.workers)
        words = [
            ("-m", "ways.floor", str(self.job), str(self.file), str(i), str(self.workers), str(share))
            for i in range(self.workers)
        ]
        running = [processes.start(*one, cache=self.folder / "cache-floor") for one in words]
        for process in running:
            assert process.stdout is not None
            process.stdout.readline()  # ready, or nothing where it failed
        for process in running:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        found = [processes.last_line(processes.finish(*pair)) for pair in zip(running, words, strict=True)]
        seconds = max(one["seconds"] for one in found)
        each = {name: sum(one[name] for one in found) / (share * self.workers) for name in ("train_s", "eval_s")}
        return {"seconds": seconds, **each, "per_hour": per_hour(share * self.workers, seconds)}

    def noop(self, n: int) -> Figures:
        """Our driver on ``n`` trials that do nothing."""
        folder = self.folder / f"noop-{n}"
        folder.mkdir()
        (folder / "nothing.yaml").write_text(ours.NOTHING.format(trials=n))
        out = processes.python(
            "-m", "ways.noop", str(folder / "nothing.yaml"), str(folder / "store"), str(self.workers)
        )
        rows = Store(folder / "store").attempts().select(["started_at", "finished_at", "host"]).to_pylist()
        assert len(rows) == n, f"{len(rows)} rows of {n} trials"
        ms = ms_each([(row["finished_at"].timestamp(), row["host"]) for row in rows])
        return {"ms": ms, "gap_s": longest_gap([row["started_at"] for row in rows]), **processes.last_line(out)}

    def tune_noop(self, n: int) -> Figures:
        """Bare Ray Tune on as many."""
        found: Figures = processes.last_line(processes.python("-m", "ways.tune_noop", str(n), str(self.workers)))
        return found

    def quickstart(self, name: str, *options: str) -> Figures:
        """Some of the quickstart's trials, spread evenly over those of each backbone."""
        trials, n = Sweep.load("quickstart").trials(), self.args.quickstart_trials
        chosen = []
        for backbone in dict.fromkeys(trial.backbone.name for trial in trials):
            every = [trial.trial_id for trial in trials if trial.backbone.name == backbone]
            chosen += [every[int((i + 0.5) * len(every) / n)] for i in range(n)]
        where = f"trial_id IN ({', '.join(map(repr, chosen))})"
        cache = self.folder / f"cache-{name}"
        return self._ours(
            lambda: ours.driven("quickstart", self.folder / name, cache, self.workers, "--where", where, *options)
        )

    def _few(self, seconds: float, scores: Sequence[Figures]) -> Figures:
        test = sum(one["test_score"] for one in scores) / len(scores)
        few = len(self.few)
        return {"seconds": seconds, "trials": few, "test_of_few": test, "per_hour": per_hour(few, seconds)}

    def _driven(self, name: str, *options: str, repetition: int = 1) -> Figures:
        store, cache = self.folder / f"{name}-{repetition}", self.folder / f"cache-{name}"
        return self._ours(lambda: ours.driven(self.file, store, cache, self.workers, *options))

    def _ours(self, make: Callable[[], Store]) -> Figures:
        store, seconds = ours.timed(make)
        found = ours.figures(store, seconds, self.few)
        return {**found, "per_hour": per_hour(found["trials"], seconds)}


Item = tuple[str, dict[str, Any], Callable[[], Figures]]  # a measurement: its name, the settings that it is for, how


def items(bench: Bench) -> list[Item]:
    """The measurements of all parts asked for, in their order."""
    args = bench.args
    same = {"steps": args.steps, "trials": args.trials, "workers": args.workers}
    slow = {**same, "trials_slow": args.trials_slow}  # of ours too: they say the mean score of those few
    floor = {**same, "trials_floor": args.trials_floor}
    found: list[Item] = [
        ("authors", slow, bench.authors),
        ("tune", {**slow, "sampling": args.tune_sampling}, bench.tune),
        ("cold", slow, bench.cold),
        ("warm", slow, bench.warm),
    ]
    for i in range(1, args.repetitions + 1):
        found += [(f"auto-{i}", slow, lambda i=i: bench.auto(i)), (f"floor-{i}", floor, bench.floor)]
    for n in args.noops:
        own = {"workers": args.workers}
        found += [
            (f"noop-{n}", own, lambda n=n: bench.noop(n)),
            (f"noop-tune-{n}", own, lambda n=n: bench.tune_noop(n)),
        ]
    few = {"quickstart_trials": args.quickstart_trials, "workers": args.workers}
    found += [
        ("quickstart-before", few, lambda: bench.quickstart("before", "--set", "resources.pack_size=1")),
        ("quickstart-after", few, lambda: bench.quickstart("after")),
    ]
    return found
