"""A sweep on a machine that has this checkout and no network and no Ray: packs go there, the store comes back.

    python benchmarks/carry.py pack SWEEP DIR [--gpu h100-80]       here: makes DIR, with the data in it
    python benchmarks/carry.py run DIR OUT.tar.gz [--seconds 300]   there: each pack by ``python -m workers.run``
    tar -xzf OUT.tar.gz -C STORE && apet thresholds --store STORE   here again

Data must be folders, weights folders or random: both are copied or need nothing. Every pack that has ended is a line of
JSON; a pack that was begun is gone on with from its checkpoints when the same is run again with what is in DIR.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from orchestrator.planning.devices import here, machine_with
from orchestrator.planning.packing import packs
from orchestrator.planning.setups import Setups
from orchestrator.planning.todo import Todo
from trials.errors import ApetError
from trials.pack import Pack, Sources
from trials.store.store import Store
from trials.sweep.sweep import Sweep
from workers import run as one_pack

PACKS, DATA, STORE = "packs", "data", "store"


def pack(sweep: Sweep, folder: Path, card: str | None = None) -> int:
    """Write a sweep's packs, and all that they read; how many.

    Args:
        sweep: all of its trials.
        folder: a new one.
        card: of the machine there, which has one of it; None: that machine is like this one.

    Raises:
        ApetError: what it reads can't be carried, or a set-up doesn't fit there.
    """
    machine = machine_with(card, 1) if card else here()
    setups = Setups(sweep.trials(), (machine,), sweep.resources)
    setups.check()
    todo = [Todo(trial, sweep.sources(trial), sweep=sweep.name) for trial in sweep.trials()]
    carried: dict[str, str] = {}
    (folder / PACKS).mkdir(parents=True)
    planned = packs(todo, setups.setup)
    for number, made in enumerate(planned, start=1):
        whole = made.pack(f"carried-{number:04}")
        sources = _moved(whole.sources, lambda place: _copied(place, folder, carried))
        (folder / PACKS / f"{number:04}.json").write_text(replace(whole, sources=sources).to_json())
    return len(planned)


def run(folder: Path, out: Path, seconds: float) -> int:
    """Run the packs of a folder whose trials have no row yet, and archive the store.

    Args:
        folder: from :func:`pack`.
        out: the archive.
        seconds: no pack is begun after these.

    Returns:
        the worst exit code of ``workers.run``.
    """
    began, worst, store = perf_counter(), 0, folder / STORE
    Store(store, create=True)
    for file in sorted((folder / PACKS).glob("*.json")):
        took = perf_counter()
        if took - began > seconds:
            print(json.dumps({"pack": file.stem, "skipped": "the time is over"}), flush=True)
            continue
        whole = Pack.read(file)
        placed = replace(whole, sources=_moved(whole.sources, lambda place: _here(place, folder)))
        (folder / "pack.json").write_text(placed.to_json())
        with contextlib.redirect_stdout(sys.stderr):
            code = one_pack.main([str(folder / "pack.json"), "--store", str(store)])
        worst = max(worst, code)
        if not code:
            file.rename(file.with_suffix(".done"))
        said = {"pack": file.stem, "trials": len(whole.members), "exit": code}
        print(json.dumps({**said, "seconds": round(perf_counter() - took, 2)}), flush=True)
    with tarfile.open(out, "w:gz") as archive:
        archive.add(store, arcname=".")
    return worst


def _moved(sources: Sources, move: Callable[[str], str]) -> Sources:
    targets = {task: move(place) for task, place in sources.targets.items()}
    return Sources(move(sources.weights), move(sources.data), targets)


def _copied(place: str, folder: Path, carried: dict[str, str]) -> str:
    """Where something lies in the folder, as ``folder:data/1``; copied the first time."""
    kind, _, path = place.partition(":")
    if kind == "random":
        return place
    if kind != "folder":
        raise ApetError(f"{place} isn't carried; give a folder (data_dir, model_dir)")
    if place not in carried:
        carried[place] = f"folder:{DATA}/{len(carried) + 1}"
        shutil.copytree(path, folder / DATA / str(len(carried)))
    return carried[place]


def _here(place: str, folder: Path) -> str:
    kind, _, path = place.partition(":")
    return f"folder:{(folder / path).resolve()}" if kind == "folder" else place


def main(argv: Sequence[str] | None = None) -> int:
    """The two commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("pack")
    making.add_argument("sweep")
    making.add_argument("folder", type=Path)
    making.add_argument("--gpu", help="the card of the machine there; without it that machine is like this one")
    running = commands.add_parser("run")
    running.add_argument("folder", type=Path)
    running.add_argument("out", type=Path)
    running.add_argument("--seconds", type=float, default=300)
    args = parser.parse_args(argv)
    if args.command == "run":
        return run(args.folder, args.out, args.seconds)
    print(f"{pack(Sweep.load(args.sweep), args.folder, args.gpu)} packs in {args.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
