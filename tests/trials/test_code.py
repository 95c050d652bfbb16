"""The digest of the code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

from trials.code import PACKAGES, SUFFIXES, differs, digest, digest_of


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    for name in ("one", "two"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "a.py").write_text("x = 1\n")
        (tmp_path / name / "b.yaml").write_text("name: b\n")
    return {name: tmp_path / name for name in ("one", "two")}


@pytest.mark.parametrize("what", ["content", "name", "new", "gone", "moved"])
def test_any_change_of_code_is_another_digest(folders: dict[str, Path], what: str) -> None:
    before = digest_of(folders)
    file = folders["one"] / "sub" / "a.py"
    if what == "content":
        file.write_text("x = 2\n")
    elif what == "name":
        file.rename(file.with_name("c.py"))
    elif what == "new":
        (folders["two"] / "c.json").write_text("{}")
    elif what == "gone":
        (folders["two"] / "b.yaml").unlink()
    else:
        file.rename(folders["two"] / "a.py")
    assert digest_of(folders) != before


def test_what_is_no_code_and_where_it_lies_make_no_other_digest(folders: dict[str, Path], tmp_path: Path) -> None:
    before = digest_of(folders)
    (folders["one"] / "__pycache__").mkdir()
    (folders["one"] / "__pycache__" / "a.cpython-311.pyc").write_bytes(b"0")
    (folders["one"] / "notes.txt").write_text("mine")
    moved = folders["one"].rename(tmp_path / "elsewhere")
    assert digest_of(folders | {"one": moved}) == before


def test_it_is_of_all_three_packages_and_imports_none() -> None:
    assert digest() == digest_of({name: ROOT / name for name in PACKAGES})
    code = "import sys, trials.code as c; print(c.digest(), 'workers' in sys.modules, 'orchestrator' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.split() == [digest(), "False", "False"]


def test_all_that_a_wheel_holds_counts() -> None:
    """Except what is empty."""
    kept = subprocess.run(["git", "ls-files", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=True)
    others = {Path(name) for name in kept.stdout.split() if Path(name).suffix not in SUFFIXES}
    assert {path.name for path in others} == {"py.typed", "corpus.txt"}, "the latter isn't in a wheel"


def test_words() -> None:
    assert "its code is older, and the driver's is 012345678901:" in differs("node-7", "", "0123456789012345")
