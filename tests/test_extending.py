"""A fourth operation is a file in two packages, a fifth method a row of the table, and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from paths import ROOT, SUPPORT

ADDED = {
    "trials/modules/operations/scale.py": "scale_units.py",
    "workers/modules/operations/scale.py": "scale_tensors.py",
    "tests/workers/test_extended.py": "extended.py",
}
METHOD = """\
def _ia3(method: Method, ref: BackboneRef) -> tuple[Placed, ...]:
    places = _at(ref, ("k", "v", "up"))
    return (Placed("scale", places, tuple(max(1, int(method.sizes["share"] * site.d_out)) for site in places)),)


"""
ROW = """\
        "ia3": Rule(
            "Factors on keys, values and inside the feed-forward.",
            {"share": Size(1.0, "Share of a layer's coordinates.")},
            _ia3,
        ),
"""
CONTRACTS = (
    *("trials/modules/test_sites.py", "trials/modules/test_positions.py", "trials/sweep/test_axes.py"),
    *("trials/test_trial.py", "workers/modules/test_modules.py", "workers/modules/test_modules_properties.py"),
)


def extended(folder: Path) -> None:
    """A copy of the project with an operation and a method more."""
    for name in ("trials", "workers", "orchestrator", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    for place, file in ADDED.items():
        shutil.copy(SUPPORT / "extension" / file, folder / place)
    table = folder / "trials" / "modules" / "methods.py"
    text = table.read_text()
    for before, new in (("METHODS: Mapping", METHOD), ('        "apet": Rule(', ROW)):
        assert text.count(before) == 1
        text = text.replace(before, new + before)
    table.write_text(text)


def test_a_fourth_operation_and_a_fifth_method_work_everywhere(tmp_path: Path) -> None:
    """The contract tests of operations find the new one, and of their cases only its own are run again."""
    extended(tmp_path)
    asked = ["tests/workers/test_extended.py", *(f"tests/{path}" for path in CONTRACTS)]
    some = "extended or scale or pack or operation or never_changes"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", some, *asked],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    passed = done.stdout.splitlines()[-1]
    assert int(passed.split()[0]) > 100, passed
