"""The name of this machine's CPU."""

from __future__ import annotations

from pathlib import Path

from trials.processor import named, processor


def test_linux_names_it_once_a_core(tmp_path: Path) -> None:
    listing = tmp_path / "cpuinfo"
    listing.write_text("processor\t: 0\nmodel\t\t: 143\nmodel name\t: A CPU @ 2.0GHz\n\nmodel name\t: B\n")
    assert named(listing) == "A CPU @ 2.0GHz"
    listing.write_text("processor\t: 0\n")
    assert named(listing) == ""
    assert named(tmp_path / "none") == ""
    assert processor(), "there is always some name"
