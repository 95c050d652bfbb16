"""``python -m workers.run PACK.json --store URI``: run one pack here, with no ray and no cluster."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from trials.errors import ApetError
from trials.failures import InfrastructureError
from trials.pack import Pack
from trials.store.store import Store
from workers.gang.local import Local
from workers.gang.supervisor import GangError, GangWorker
from workers.pack.progress import INTERRUPTED, Progress
from workers.signals import Stop

AGAIN = "trials without a row go on from their checkpoints, here or elsewhere"


class Runs(Protocol):
    """What ``Worker`` and ``GangWorker`` have in common."""

    def run(self, pack: Pack, should_stop: Callable[[], bool]) -> Iterator[Progress]:
        """See ``workers.worker.Worker.run``."""


def main(argv: Sequence[str] | None = None) -> int:
    """Exit 0 when every trial has a result, 1 when one failed, 2 for wrong input, 3 when the worker can't go on.

    After 3 (a sick GPU, a store that can't be written, a rank that is gone) trials that haven't ended have no row; the
    same command goes on from their checkpoints, here or elsewhere. So it does after Ctrl-C or SIGTERM: the first one
    ends the pack at its next batch, with checkpoints, the second at once, and the exit code is 128 + signal.
    """
    args = _arguments(argv)
    with Stop() as stop, ExitStack() as stack:
        try:
            pack = _asked(args)
            store = Store(args.store, create=True)
            worker = _worker(pack, store, args.engine, stack)
            ended, failed = _run(worker, pack, lambda: stop.asked)
        except ApetError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        except GangError as error:
            print(*filter(None, [error.log]), f"error: {error}; {AGAIN}", sep="\n", file=sys.stderr)
            return 3
        except InfrastructureError as error:
            print(f"error: {error}; {AGAIN}", file=sys.stderr)
            return 3
        except KeyboardInterrupt:
            ended = 0
        finally:
            stop.ending = True
        if ended < len(pack.members):
            print(f"stopped; {AGAIN}", file=sys.stderr)
            return 128 + stop.signal
        return 1 if failed else 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m workers.run", description=__doc__)
    parser.add_argument("pack", type=Path, help="a pack's JSON file; `apet show TRIAL --pack` prints one")
    parser.add_argument("--store", required=True, help="the store's directory or URI")
    parser.add_argument(
        "--threads", type=int, default=None, help="torch CPU threads, of each rank; 1 gives bitwise repeatable results"
    )
    parser.add_argument(
        "--ranks", type=int, default=None, help="processes that share the pack, one a GPU; its set-up's otherwise"
    )
    parser.add_argument("--engine", default="auto", help="auto, plain or deepspeed")
    return parser.parse_args(argv)


def _asked(args: argparse.Namespace) -> Pack:
    """The pack, with what the command line says of its set-up.

    Raises:
        ApetError: no such pack, or none that can run.
    """
    pack = Pack.read(args.pack)
    from workers.environment import device_of  # torch only once the file is known to be right

    setup, device = pack.setup, device_of(pack.setup.device)
    if args.threads is not None:
        setup = replace(setup, threads=args.threads)
    if args.ranks is not None:
        if args.ranks < 1:
            raise ApetError(f"--ranks {args.ranks}: a pack has one rank or more")
        setup = replace(setup, device=device, ranks=args.ranks, gpus=args.ranks if device == "cuda" else 0)
    return replace(pack, setup=setup)


def _worker(pack: Pack, store: Store, engine: str, stack: ExitStack) -> Runs:
    """This process, or the gang that it supervises until ``stack`` closes.

    Raises:
        ApetError: no such engine.
    """
    if pack.setup.ranks == 1:
        from workers.worker import Worker

        return Worker(store, engine=engine)
    if engine != "auto":
        from workers.engines import choice

        choice.check(engine)
    gang = GangWorker(store, Local(), engine=engine)
    stack.callback(gang.close)
    return gang


def _run(worker: Runs, pack: Pack, should_stop: Callable[[], bool]) -> tuple[int, int]:
    """Run the pack and tell how it goes; how many trials have ended, and how many of them have failed."""
    states: list[str] = []
    for progress in worker.run(pack, should_stop):
        for trial, value in progress.scores.items():
            print(f"{trial} step {progress.step}/{progress.steps} validation {value:.4f}", file=sys.stderr)
        for ended in progress.ended:
            states.append(ended.state)
            score = "-" if ended.test_score is None else f"{ended.test_score:.4f}"
            print(f"{ended.trial_id} {ended.state} test {score} {ended.error_message or ''}".rstrip())
    return len(states) - states.count(INTERRUPTED), states.count("failed")


if __name__ == "__main__":
    sys.exit(main())
