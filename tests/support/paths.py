"""Where things are, for tests at any depth."""

from __future__ import annotations

from pathlib import Path

SUPPORT = Path(__file__).parent  # on the path of processes that tests start, for `fake_worker`
ROOT = SUPPORT.parents[1]
DOCS = ROOT / "docs"
