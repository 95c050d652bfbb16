"""Many figures as files: vl-convert lets no other thread of its process work, so that other processes draw them.

``python -m orchestrator.reporting.drawings`` is such a process: a specification a line, and a line with its files.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from orchestrator.reporting.charts.theme import Spec
from orchestrator.reporting.drawing import both

FEW = 8  # figures that are drawn sooner than another process begins
MOST = 4  # processes
Files = tuple[bytes, bytes]  # SVG, PNG


class Drawings:
    """Figures to be drawn, by other processes where they are many.

    A context: what isn't drawn when it is left isn't drawn any more.
    """

    def __init__(self) -> None:
        self._specs: list[tuple[str, Spec]] = []
        self._drawn: list[Future[Files]] = []
        self._threads: ThreadPoolExecutor | None = None
        self._mine = threading.local()
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Drawings:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
        for process in self._processes:
            process.communicate()

    def add(self, name: str, spec: Spec) -> None:
        """Begin to draw a figure; ``name`` is the files' stem."""
        self._specs.append((name, spec))
        if self._threads is None and len(self._specs) > FEW:
            workers = min(MOST, os.cpu_count() or 1)
            self._threads = ThreadPoolExecutor(workers, initializer=self._begin)
        if self._threads is not None:
            for _, one in self._specs[len(self._drawn) :]:
                self._drawn.append(self._threads.submit(self._elsewhere, one))

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Names and contents, in the order of the figures."""
        for i, (name, spec) in enumerate(self._specs):
            drawn = self._drawn[i].result() if self._drawn else both(spec)
            for ending, data in zip(("svg", "png"), drawn, strict=True):
                yield f"{name}.{ending}", data

    def _begin(self) -> None:
        """A process of this thread's own. Ctrl-C is for who asked, not for it."""
        here = str(Path(__file__).parents[2])
        paths = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH", ""))))
        self._mine.process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": paths},
            start_new_session=True,
        )
        self._processes.append(self._mine.process)

    def _elsewhere(self, spec: Spec) -> Files:
        """Drawn by the process of this thread; here, where that has ended."""
        process = self._mine.process
        try:
            process.stdin.write(json.dumps(spec) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except (OSError, ValueError):
            line = ""
        if not line:
            return both(spec)
        drawn = json.loads(line)
        return drawn["svg"].encode(), base64.b64decode(drawn["png"])


def main() -> None:
    """Draw what comes in, until nothing more does."""
    for line in sys.stdin:
        drawn, pixels = both(json.loads(line))
        print(json.dumps({"svg": drawn.decode(), "png": base64.b64encode(pixels).decode()}), flush=True)


if __name__ == "__main__":
    main()
