"""Sweeps as they were run: each is found by its own name, and means the same wherever it is read."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import pytest
from folders_for_tests import write_rows

from trials.errors import ApetError
from trials.store.store import Store
from trials.sweep.resources import Resources
from trials.sweep.sweep import Sweep

PARTS = """\
learning_rates: [1.0e-3]
training: {steps: 1}
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", create=True)


def test_sweeps_are_kept_once(store: Store) -> None:
    assert store.save_sweep("mine", "x: 1") == store.save_sweep("mine", "x: 1")
    assert store.save_sweep("mine", "x: 2").startswith("sweeps/mine-")
    assert len(list(Path(store.uri, "sweeps").iterdir())) == 2


def test_every_sweep_is_found_by_its_own_name(store: Store) -> None:
    names = ["a_b", "a-b", "a.b", "A_b", "a", "a-b-1234abcd", "_a", ".a", "a/b", "a b", "", "%5Fa", "ä"]
    paths = [store.save_sweep(name, "x: 1") for name in names]
    assert len({path.casefold() for path in paths}) == len(names), "on a disk that knows no case, too"
    for path in paths:
        os.utime(Path(store.uri, path), (1, 1))
    for number, name in enumerate(names):
        store.save_sweep(name, f"x: {number}")
    assert [store.load_sweep(name) for name in names] == [f"x: {number}" for number in range(len(names))]
    assert store.load_sweep("b") is None
    assert [path for path, _ in store.sweeps("a_b")][-1] == str(Path(store.uri, paths[0]))


def test_the_last_run_of_a_sweep_comes_first(store: Store) -> None:
    for number, text in enumerate(("x: 1", "x: 2", "x: 3")):
        os.utime(Path(store.uri, store.save_sweep("mine", text)), (number, number))
    assert [text for _, text in store.sweeps("mine")] == ["x: 3", "x: 2", "x: 1"]
    store.save_sweep("mine", "x: 1")
    assert store.load_sweep("mine") == "x: 1"


def test_sweeps_of_stores_before_names_were_escaped(store: Store) -> None:
    path = Path(store.uri, "sweeps", f"mine-{hashlib.sha256(b'x: 1').hexdigest()[:8]}.yaml")
    path.parent.mkdir()
    path.write_text("x: 1")
    assert store.load_sweep("mine") == "x: 1"


def test_a_damaged_sweep_is_named(store: Store) -> None:
    path = store.save_sweep("mine", "x: ä")
    whole = Path(store.uri, path).read_bytes()
    for at in range(len(whole)):
        Path(store.uri, path).write_bytes(whole[:at] + bytes([whole[at] ^ 0x81]) + whole[at + 1 :])
        with pytest.raises(ApetError, match=rf"{re.escape(path)} is damaged"):
            store.load_sweep("mine")


def test_a_text_that_stands_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the sweep's name and whole paths, comments and all; what needs no change stays as it was."""
    whole = f"# mine\nname: mine\nbackbones: [tiny-bert]\ntasks: [rte]\nmethods: [bitfit]\n{PARTS}"
    assert Sweep.parse(whole).standalone() == whole
    for split in ("train", "validation"):
        write_rows(tmp_path / "data" / f"{split}.jsonl")
        write_rows(tmp_path / "other" / f"{split}.jsonl", [{"sentence": "a film", "label": 1}])
    blocks = f"""\
# two blocks
blocks:
  - {{backbones: [tiny-bert], tasks: [{{name: rotten_tomatoes, data_dir: data}}], methods: [bitfit]}}
  - backbones: [tiny-t5]
    tasks:
      - {{name: rotten_tomatoes, data_dir: {tmp_path / "data"}}}  # whole already
    methods: [bitfit]
    evaluate_on: [{{name: sst2, data_dir: ./other}}]
{PARTS}"""
    (tmp_path / "of_its_file.yaml").write_text(blocks)
    sweep = Sweep.load(tmp_path / "of_its_file.yaml")
    text = sweep.standalone()
    assert text.startswith("# two blocks")
    assert "# whole already" in text
    monkeypatch.chdir("/")
    again = Sweep.parse(text)
    assert (again.name, again.trials()) == ("of_its_file", sweep.trials())
    assert again.standalone() == text
    assert Resources.of(text) == sweep.resources
