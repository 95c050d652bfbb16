"""What a gang takes: memory of a rank against the plan, and what a pack costs after many packs on one gang.

    python benchmarks/gang.py [--parts packs,memory] [--packs 200] [--backbones t5-large,bloom-1b1]

packs       pack after pack on two ranks that share a tiny backbone at ZeRO's stage 3, through the supervisor that the
            driver and ``python -m workers.run --ranks`` have: resident memory, open files and threads of the first
            rank, and seconds a pack, of the first packs and of the last ones
memory      some steps of a backbone of about a billion random float32 weights on two ranks at stage 3: the most that a
            rank took, by its row, over what the planner expected of it

It needs no network, no GPU and no Ray; ``memory`` needs some 16 GiB. Its last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import machine

from orchestrator.planning.devices import here
from orchestrator.planning.fit import fit
from trials import backbones
from trials.modules import methods
from trials.pack import Member, Pack, Sources
from trials.setup import Setup
from trials.sources.locations import find_data, location_of
from trials.store.store import Store
from trials.sweep.resources import Resources
from trials.trial import TaskRef, Training, Trial
from workers.gang.local import Local, LocalRanks
from workers.gang.supervisor import GangWorker

TASK = "rotten_tomatoes"
RANKS = 2
ROWS, WORDS, STEPS = 4, 30, 3  # of a batch, of a text, of a trial
WARM = 10  # packs until everything is in memory that will be


class Seen:
    """Starts ranks on this machine, and remembers them."""

    def __init__(self) -> None:
        self.ranks: LocalRanks | None = None

    def start(self, ranks: int, device: str) -> LocalRanks:
        """See ``workers.gang.ranks.Launcher``."""
        self.ranks = Local().start(ranks, device)
        return self.ranks

    def state(self) -> dict[str, int]:
        """What the first rank's process holds now."""
        assert self.ranks is not None, "a gang was formed"
        process = Path(f"/proc/{self.ranks.pids[0]}")
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        files = len(list((process / "fd").iterdir()))
        return {"rss_mib": int(status["VmRSS"].split()[0]) // 1024, "files": files, "threads": int(status["Threads"])}


def made(folder: Path, name: str, packs: int, steps: int) -> Iterator[Pack]:
    """Packs of one LoRA trial each, as the planner sets them up for two ranks at stage 3."""
    data = folder / "texts"
    data.mkdir(exist_ok=True)
    for split, rows in (("train", 8 * ROWS), ("validation", ROWS), ("test", ROWS)):
        lines = (json.dumps({"text": f"{i} " + "a warm story " * (WORDS // 3), "label": i % 2}) for i in range(rows))
        (data / f"{split}.jsonl").write_text("\n".join(lines))
    ref = backbones.get(name)
    ref = ref if ref.weights.kind == "random" else backbones.with_random_weights(ref)
    source, found = find_data(TASK, data)
    training = Training(steps, ROWS, precision="fp32", max_input_length=48, max_generated_length=1)
    for nth in range(packs):
        trial = Trial(
            ref,
            TaskRef(TASK, source),
            methods.named("lora"),
            1e-4 * (1 + nth / 1000),
            training,
            head="verbalizer" if ref.family == "bert" else None,
        )
        yield Pack(f"{name}-{nth}", (Member(trial),), Sources(location_of(ref.weights), found), setup=planned(trial))


def planned(trial: Trial) -> Setup:
    """What the planner makes of the wish for a gang that shares the weights."""
    wanted = Resources(gpus=0, ranks=RANKS, zero_stage=3, recompute=False, pack_size=1, micro_batch=ROWS)
    return fit([trial], [here()], wanted).setup


def many(folder: Path, count: int) -> dict[str, Any]:
    """Pack after pack on one gang."""
    store, launcher = Store(str(folder / "many"), create=True), Seen()
    gang, seconds, states = GangWorker(store, launcher), list[float](), dict[int, dict[str, int]]()
    for nth, pack in enumerate(made(folder, "tiny-t5", count, steps=2), start=1):
        start = perf_counter()
        states_of_trials = [ended.state for progress in gang.run(pack) for ended in progress.ended]
        assert states_of_trials == ["completed"], states_of_trials
        seconds.append(perf_counter() - start)
        if nth in (WARM, count // 2, count):
            states[nth] = launcher.state()
            print(f"after {nth} packs: {states[nth]}", flush=True)
    gang.close()
    first, last = seconds[WARM : WARM + count // 4], seconds[-(count // 4) :]
    return {
        "packs": count,
        "states": states,
        "first_pack_s": round(seconds[0], 3),
        "pack_s_begin": round(statistics.median(first), 4),
        "pack_s_end": round(statistics.median(last), 4),
    }


def large(folder: Path, name: str) -> dict[str, Any]:
    """Some steps of a large backbone."""
    store = Store(str(folder / name), create=True)
    gang, (pack,) = GangWorker(store, Local()), made(folder, name, 1, STEPS)
    start = perf_counter()
    for _ in gang.run(pack):
        pass
    gang.close()
    (row,) = store.trials().to_pylist()
    assert row["state"] == "completed", row["error_message"]
    took, expected = row["peak_memory_bytes"], pack.setup.memory
    return {
        "backbone": name,
        "parameters": row["backbone_parameters"],
        "peak_gib": round(took / 2**30, 3),
        "planned_gib": round(expected / 2**30, 3),
        "memory_ratio": round(took / expected, 3),
        "load_s": round(row["load_s"], 1),
        "step_s": round(row["train_s"] / STEPS, 2),
        "seconds": round(perf_counter() - start, 1),
    }


def main() -> None:
    """Measure the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="packs,memory", help="with commas (default both)")
    parser.add_argument("--packs", type=int, default=200, help="one after another (default 200); 40 at least")
    parser.add_argument("--backbones", default="t5-large,bloom-1b1", help="of memory, with commas")
    args = parser.parse_args()
    parts = args.parts.split(",")
    if unknown := set(parts) - {"packs", "memory"}:
        parser.error(f"--parts {', '.join(unknown)}: packs or memory")
    if args.packs < 4 * WARM:
        parser.error(f"--packs {args.packs}: give {4 * WARM} or more, the first {WARM} warm up")
    machine.print_header()
    with TemporaryDirectory() as temporary:
        found: dict[str, Any] = {"packs": many(Path(temporary), args.packs) if "packs" in parts else None}
        found["memory"] = []
        for name in args.backbones.split(",") if "memory" in parts else ():
            found["memory"].append(large(Path(temporary), name))
            print(json.dumps(found["memory"][-1]), flush=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
