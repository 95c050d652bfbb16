"""--down-when-done on AWS: `ray down` on the head asks Amazon for nothing that its role may not, and leaves nothing."""

from __future__ import annotations

import copy
import os
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from aws_file import BUCKET, HOME_ADDRESS, REGION, account, edited, written

TAGS = {"ray-node-status": "up-to-date", "ray-cluster-name": "apet"}


def test_a_head_ends_all_machines_with_the_role_that_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moto = pytest.importorskip("moto", reason="no AWS to test with: pip install 'moto[ec2,iam,s3,server]'")
    import boto3
    from ray.autoscaler._private import commands
    from ray.autoscaler._private.aws import node_provider, utils

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    (tmp_path / "ssh").write_text("#!/bin/sh\nexit 255\n")  # the group lets nobody in at the head's outer address
    (tmp_path / "ssh").chmod(0o755)
    asked: set[str] = set()
    with moto.mock_aws():
        made = account()
        made.make_bucket(BUCKET, REGION)
        made.make_roles(BUCKET, REGION)
        group = made.make_group(REGION, HOME_ADDRESS)
        boto3.setup_default_session(region_name=REGION)
        session = boto3.DEFAULT_SESSION
        session.events.register(
            "before-call", lambda model, **_: asked.add(f"{model.service_model.signing_name}:{model.name}")
        )
        laptop = commands._bootstrap_config(edited(group), no_config_cache=True)
        provider = node_provider.AWSNodeProvider(laptop["provider"], laptop["cluster_name"])
        for name, kind in (("head", "head"), ("small-l4", "worker")):
            tags = {**TAGS, "ray-node-type": kind, "ray-user-node-type": name}
            provider.create_node(laptop["available_node_types"][name]["node_config"], tags, 1)
        mounted, _ = commands._set_up_config_for_head_node(copy.deepcopy(laptop), provider, False)
        there = mounted["file_mounts"]
        bootstrap = written(_read(there["~/ray_bootstrap_config.yaml"]), tmp_path / "ray_bootstrap_config.yaml")
        Path(there["~/ray_bootstrap_key.pem"]).rename(tmp_path / "ray_bootstrap_key.pem")
        for cache in (utils.resource_cache, utils.client_cache):
            cache.cache_clear()
        monkeypatch.setenv("TMPDIR", str(tmp_path))  # the laptop's answers aren't there
        monkeypatch.setattr("tempfile.tempdir", None)
        asked.clear()
        commands.teardown_cluster(
            str(bootstrap), yes=True, workers_only=False, override_cluster_name=None, keep_min_workers=False
        )
        ended = set(asked)
        assert states() == ["terminated", "terminated"]
    may = [*made.MACHINES, "ssm:GetParameters"]
    assert ended
    assert not [one for one in ended if not any(fnmatch(one, pattern) for pattern in may)], ended


def _read(path: str) -> Any:
    import yaml

    return yaml.safe_load(Path(path).read_text())


def states() -> list[str]:
    """Of all machines that there are or were."""
    import boto3

    found = boto3.client("ec2", REGION).describe_instances()["Reservations"]
    return [one["State"]["Name"] for reservation in found for one in reservation["Instances"]]
