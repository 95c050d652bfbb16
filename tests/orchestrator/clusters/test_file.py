"""A cluster file as plain values with lines, and its node types as machines."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]
from cluster_files import GOOD, case, good
from paths import ROOT

from orchestrator.clusters.document import read
from orchestrator.planning.devices import CARDS


@pytest.mark.parametrize("path", [ROOT / "cluster.yaml", *sorted((ROOT / "clusters").glob("*.yaml"))])
def test_values_are_those_that_ray_reads(path: Path) -> None:
    assert read(path.read_text(), path.name).data == yaml.safe_load(path.read_text())


@pytest.mark.parametrize("name", GOOD)
def test_every_key_is_in_its_line(name: str) -> None:
    document = read(good(name), name)
    lines = document.text.splitlines()
    for path, line in document.lines.items():
        if path and isinstance(path[-1], str):
            assert path[-1] in lines[line - 1]


def test_what_the_file_lacks_is_looked_for_around_it(tmp_path: Path) -> None:
    file, lines = case(tmp_path, good("aws")).file, good("aws").splitlines()
    assert lines[file.where("available_node_types", "small", "node_config", "KeyName") - 1] == "    node_config:"
    assert file.where("nothing") == 1


def test_merged_keys_keep_the_line_where_they_are_written(tmp_path: Path) -> None:
    document = read("a: &a\n  b: 1\nc:\n  <<: *a\n  d: 2\n", "x")
    assert document.data == {"a": {"b": 1}, "c": {"b": 1, "d": 2}}
    assert (document.line(("c", "b")), document.line(("c", "d"))) == (2, 5)


def test_node_types_are_machines(tmp_path: Path) -> None:
    file = case(tmp_path, good("aws")).file
    assert file.name == "study"
    assert file.nodes == 9
    assert file.head
    assert file.head.machine() is None, "the head has CPU: 0"
    small, large = file.machines()
    assert (small.node_type, small.price, small.count, small.gpus, small.card) == ("small", 0.5, 6, 1, "a10g-24")
    assert (large.cpus, large.gpus, large.card_bytes) == (96, 8, CARDS["a100-40"] * 2**20)  # Ray says A100 and no more
    assert small.memory == int(0.7 * 32 * 2**30)


def test_what_resources_say_goes_before_what_the_machine_has(tmp_path: Path) -> None:
    said = "resources: {CPU: 2, GPU: 1, memory: 1000, accelerator_type:L4: 1}\n    max_workers: 6"
    text = good("aws").replace("resources: {}\n    max_workers: 6", said)
    small = case(tmp_path, text).file.machines()[0]
    assert (small.cpus, small.gpus, small.memory, small.card) == (2, 1, 1000, "l4-24")


def test_a_machine_that_nobody_knows_is_none(tmp_path: Path) -> None:
    text = good("aws").replace("g5.2xlarge", "x2gd.metal")
    assert [one.node_type for one in case(tmp_path, text).file.machines()] == ["large"]
    unknown_card = good("aws").replace("resources: {}\n    max_workers: 6", "resources: {GPU: 1}\n    max_workers: 6")
    unknown_card = unknown_card.replace("g5.2xlarge", "m6i.large")
    assert [one.node_type for one in case(tmp_path, unknown_card).file.machines()] == ["large"]


def test_spot_is_seen_on_both_clouds(tmp_path: Path) -> None:
    for name in ("aws", "gcp"):
        types = case(tmp_path, good(name)).file.node_types
        assert types["small"].spot
        assert not types["head"].spot


def test_cards_that_stand_beside_googles_machines_are_theirs(tmp_path: Path) -> None:
    added = "n1-standard-8\n      guestAccelerators: [{acceleratorType: a/b/nvidia-tesla-t4, acceleratorCount: 2}]"
    shape = case(tmp_path, good("gcp").replace("g2-standard-8", added)).file.node_types["small"].shape
    assert shape is not None
    assert (shape.cpus, shape.gpus, shape.card) == (8, 2, "t4-16")
