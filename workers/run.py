"""``python -m workers.run PACK.json --store URI``: run one pack here, with no ray and no cluster."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from trials.errors import ApetError
from trials.failures import InfrastructureError
from trials.pack import Pack
from trials.setup import beyond
from trials.store.store import Store

if TYPE_CHECKING:
    from workers.worker import Worker


def main(argv: Sequence[str] | None = None) -> int:
    """Exit 0 when every trial has a result, 1 when one failed, 2 for wrong input, 3 when the worker can't go on.

    After 3 (a sick GPU, a store that can't be written) trials that haven't ended have no row; the same command goes on
    from their checkpoints, here or elsewhere.
    """
    parser = argparse.ArgumentParser(prog="python -m workers.run", description=__doc__)
    parser.add_argument("pack", type=Path, help="a pack's JSON file; `apet show TRIAL --pack` prints one")
    parser.add_argument("--store", required=True, help="the store's directory or URI")
    parser.add_argument(
        "--threads", type=int, default=None, help="torch CPU threads; 1 gives bitwise repeatable results"
    )
    parser.add_argument("--engine", default="auto", help="auto, plain or deepspeed")
    args = parser.parse_args(argv)
    try:
        pack = Pack.read(args.pack)
        if why := beyond(pack.setup):
            raise ApetError(f"{args.pack}: its set-up is {why}; `apet show TRIAL --pack` makes one for this machine")
        if args.threads is not None:
            pack = replace(pack, setup=replace(pack.setup, threads=args.threads))
        store = Store(args.store, create=True)
        from workers.environment import device_of
        from workers.worker import Worker  # torch only once the input is known to be right

        worker = Worker(store, engine=args.engine)
        device_of(pack.setup.device)
    except ApetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        return 1 if _run(worker, pack) else 0
    except InfrastructureError as error:
        print(f"error: {error}; trials without a row go on from their checkpoints, here or elsewhere", file=sys.stderr)
        return 3


def _run(worker: Worker, pack: Pack) -> int:
    """Run the pack and tell how it goes; how many trials failed."""
    failed = 0
    for progress in worker.run(pack):
        for trial, value in progress.scores.items():
            print(f"{trial} step {progress.step}/{progress.steps} validation {value:.4f}", file=sys.stderr)
        for ended in progress.ended:
            failed += ended.state == "failed"
            score = "-" if ended.test_score is None else f"{ended.test_score:.4f}"
            print(f"{ended.trial_id} {ended.state} test {score} {ended.error_message or ''}".rstrip())
    return failed


if __name__ == "__main__":
    sys.exit(main())
