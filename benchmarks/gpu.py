"""What a GPU makes of our packs, part by part: one command of eight minutes, with no hub, no Ray and no data.

    python benchmarks/gpu.py [--parts peak,t5-xxl] [--seconds 480] [--out lines.jsonl] [--tiny]

Backbones are of full size, with random weights in bf16 that are drawn on the card. A part is ``BACKBONE.KIND``, and a
backbone's name stands for all of its parts:

start   what is here, which engine works: a tiny pack by each
peak    products of matrices of 8192 x 8192: what shares are of
worker  through the real worker: load to the device, memory against the plan, the next pack's first step
steps   step time, executed operations as a share of the peak (4 a frozen weight and token), memory against the plan
        at batch 32 and lengths 256 and 128: apet of 4096 scalars, LoRA, adapter; in turns with PEFT's LoRA and the
        bare backbone, forward and back through activations alone
packs   steps of packs in turns with PEFT's LoRA: 1 to 8 of apet on large backbones, 1 to 64 of LoRA and apet elsewhere
shards  ZeRO stage 3 with the weights in the machine's memory, on one card: a step, memory

Every result is a line of JSON as soon as it is there; ``measured`` marks what was measured on a GPU, ``predicted`` what
the planner says. A part that fails is a line with its error, one for which too little of ``--seconds`` is left a line
that says so, and the others go on. The last line has all of them, after Ctrl-C and SIGTERM too. Exit code 1 where a
part failed. ``--tiny`` runs all of it on a CPU with the smallest of everything, which measures nothing.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from types import FrameType
from typing import Any

from gpu.parts import PARTS, chosen, perform
from gpu.report import Report

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """Ctrl-C or SIGTERM."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options, with the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ",".join(part.name for part in PARTS)
    parser.add_argument("--parts", default=names, help=f"with commas, by default {names}")
    parser.add_argument("--seconds", type=float, default=480, help="that all of it may take (default 480)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="lines go there too, behind what it has")
    parser.add_argument(
        "--tiny", action="store_true", help="whether it runs: the smallest of everything, on any device"
    )
    args = parser.parse_args(argv)
    try:
        args.parts = chosen(args.parts.split(","))
    except ValueError as error:
        parser.error(str(error))
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Run the parts, and print."""
    args, began = parse(argv), perf_counter()
    for number in SIGNALS:
        signal.signal(number, _stop)
    facts: dict[str, Any] = {}
    report, code = Report({}, args.out), 0
    try:
        import torch
        from gpu.bench import Bench
        from machine import describe

        device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cpu" and not args.tiny:
            print("torch sees no GPU here; --tiny runs the same parts on a CPU", file=sys.stderr)
            return 2
        where = {"card": torch.cuda.get_device_name()} if device == "cuda" else {"device": device}
        said = {**where, "tiny": True} if args.tiny else {"measured": True, **where}
        facts, report = describe(), Report(said, args.out)
        with tempfile.TemporaryDirectory(prefix="gpu-") as folder:
            perform(args.parts, Bench(device, args.tiny, Path(folder)), report, began + args.seconds)
    except Stopped as stopped:
        facts["stopped"], code = str(stopped), 128 + stopped.number
    except Exception as error:  # before the parts, which have their own lines: something that all need is missing
        facts["error"], code = f"{type(error).__name__}: {error}", 1
    finally:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
    report.last({**facts, "seconds": round(perf_counter() - began, 1)})
    return code or int(bool(report.failed))


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped(number)


if __name__ == "__main__":
    sys.exit(main())
