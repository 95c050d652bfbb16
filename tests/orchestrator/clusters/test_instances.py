"""The table of machines against a second source: what EC2 answered to moto's makers."""

from __future__ import annotations

import gzip
import json
from importlib.resources import files

from orchestrator.clusters.instances import ACCELERATORS, GIB, amazon, google
from orchestrator.planning.devices import CARDS


def test_amazons_machines_are_as_ec2_says() -> None:
    packed = files("moto.ec2").joinpath("resources/instance_types.json.gz").read_bytes()
    known = 0
    for name, said in json.loads(gzip.decompress(packed)).items():
        found = amazon(name)
        if found is not None:
            known += 1
            card = said.get("GpuInfo", {"Gpus": [{"Count": 0, "Name": ""}]})["Gpus"][0]
            assert found.cpus == said["VCpuInfo"]["DefaultVCpus"], name
            assert found.memory == said["MemoryInfo"]["SizeInMiB"] * 2**20, name
            assert (found.gpus, found.card.partition("-")[0].upper()) == (card["Count"], card["Name"]), name
            if found.gpus:
                assert abs(CARDS[found.card] - card["MemoryInfo"]["SizeInMiB"]) < 0.07 * CARDS[found.card], name
    assert known > 500


def test_googles_machines() -> None:
    """As Google's pages of machine families say."""
    for name, cpus, gib, gpus in [
        ("n2-standard-4", 4, 16, 0),
        ("n1-standard-8", 8, 30, 0),
        ("n1-highmem-8", 8, 52, 0),
        ("g2-standard-24", 24, 96, 2),
        ("a2-highgpu-8g", 96, 680, 8),
        ("a2-ultragpu-1g", 12, 170, 1),
        ("a3-highgpu-8g", 208, 1872, 8),
        ("a3-ultragpu-8g", 224, 2952, 8),
    ]:
        found = google(name)
        assert found is not None
        assert (found.cpus, found.memory, found.gpus) == (cpus, gib * GIB, gpus), name
        assert found.card in CARDS or not gpus
    assert set(ACCELERATORS.values()) <= set(CARDS)
    for name in ("", "n2", "g2-standard-5", "a2-highgpu-xg", "n2-standard-"):
        assert google(name) is None
