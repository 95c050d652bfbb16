"""Python processes of a measurement: one thread each, nothing from the network, and they must succeed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {
    "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "benchmarks"), os.environ.get("PYTHONPATH", "")]),
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}


def start(*words: str, cache: Path | None = None) -> subprocess.Popen[str]:
    """Start Python, with pipes.

    Args:
        cache: what this project may keep from process to process; None: where it is by default.
    """
    own = {} if cache is None else {"APET_CACHE": str(cache)}
    return subprocess.Popen(
        [sys.executable, *words],
        env={**os.environ, **ENVIRONMENT, **own},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str], words: Sequence[str], say: str | None = None) -> str:
    """Wait for a process; what it wrote to its standard output. The benchmark ends if it failed."""
    out, err = process.communicate(say)
    if process.returncode:
        sys.exit(f"{' '.join(words)}: exit {process.returncode}\n{err[-4000:]}")
    return out


def python(*words: str, cache: Path | None = None) -> str:
    """Run Python; what it wrote to its standard output."""
    return finish(start(*words, cache=cache), words)


def last_line(out: str) -> Any:
    """The JSON in the last line of a process's output."""
    return json.loads(out.strip().splitlines()[-1])


def at_once(n: int, commands: Sequence[Sequence[str]], cache: Path | None = None) -> list[str]:
    """Run several, ``n`` at a time; their outputs."""
    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(lambda words: python(*words, cache=cache), commands))


def memory() -> dict[str, int]:
    """Resident bytes of this process, now and at most."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {"rss": int(lines["VmRSS"].split()[0]) * 1024, "peak": int(lines["VmHWM"].split()[0]) * 1024}
