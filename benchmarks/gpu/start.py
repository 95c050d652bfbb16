"""Whether all that the others need is here, and which engine works: a tiny pack by each, from loading to its row."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from time import perf_counter
from typing import TYPE_CHECKING, Any

from gpu.bench import Warm
from gpu.subjects import subject

if TYPE_CHECKING:
    from gpu.bench import Bench

NEEDED = ("peft", "gpu.worker", "gpu.steps", "gpu.packs")
ENGINES = ("deepspeed", "plain")  # the first that works is taken
METHODS = ("apet", "lora", "adapter")


def run(bench: Bench, backbone: str) -> Iterator[dict[str, Any]]:
    """Seconds of imports, and of a pack by each engine; what doesn't work says why."""
    began = perf_counter()
    lacking = dict(filter(None, map(_lacking, NEEDED)))
    yield {"import_s": round(perf_counter() - began, 3), **({"lacking": lacking} if lacking else {})}
    working = []
    for engine in ENGINES:
        began = perf_counter()
        try:
            tiny = Warm(bench, subject("t5-small", tiny=True), engine)
            tiny.run([tiny.trial(method) for method in METHODS])
        except Exception as error:
            yield {"engine": engine, "error": f"{type(error).__name__}: {error}"}
            continue
        working.append(engine)
        yield {"engine": engine, "pack_s": round(perf_counter() - began, 3)}
    if working:
        bench.engine = working[0]


def _lacking(name: str) -> tuple[str, str] | None:
    try:
        import_module(name)
    except ImportError as error:
        return name, str(error)
    return None
