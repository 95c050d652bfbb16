"""The cluster files of the project: what Ray, and EC2 as moto plays it, say to them; and what must not be in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from aws_file import BUCKET, HOME_ADDRESS, REGION, account, edited
from paths import ROOT

FILES = [ROOT / "cluster.yaml", *sorted((ROOT / "clusters").glob("*.yaml"))]
AWS = [path for path in FILES if "type: aws" in path.read_text()]


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """AWS, played by moto in this process, with what clusters/account.py makes; the security group's id."""
    moto = pytest.importorskip("moto", reason="no AWS to test with: pip install 'moto[ec2,iam,s3,server]'")
    monkeypatch.setenv("HOME", str(tmp_path))  # Ray puts a key there
    monkeypatch.setenv("EC2_ENABLE_INSTANCE_TYPE_VALIDATION", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with moto.mock_aws():
        made = account()
        made.make_bucket(BUCKET, REGION)
        made.make_roles(BUCKET, REGION)
        yield made.make_group(REGION, HOME_ADDRESS)


def bootstrapped(config: dict[str, Any]) -> dict[str, Any]:
    """What `ray up` makes of a file before it starts a machine."""
    from ray.autoscaler._private.commands import _bootstrap_config

    return _bootstrap_config(config, no_config_cache=True)


def test_ray_and_ec2_take_the_file_with_what_a_user_edits(cloud: str) -> None:
    import boto3
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    config = bootstrapped(edited(cloud))
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    for name, kind in config["available_node_types"].items():
        assert len(kind["node_config"]["SubnetIds"]) == 4, "a subnet a zone"
        provider.create_node(kind["node_config"], {"ray-user-node-type": name}, 1)
    ec2 = boto3.client("ec2", REGION)
    made = {
        next(tag["Value"] for tag in one["Tags"] if tag["Key"] == "ray-user-node-type"): one
        for reservation in ec2.describe_instances()["Reservations"]
        for one in reservation["Instances"]
    }
    head = made.pop("head")
    assert head["IamInstanceProfile"]["Arn"].endswith("/apet-head")
    assert "InstanceLifecycle" not in head
    assert len(made) >= 4
    for one in made.values():
        assert one["IamInstanceProfile"]["Arn"].endswith("/apet-worker")
        assert one["InstanceLifecycle"] == "spot"
        assert one["ImageId"].startswith("resolve:ssm:")
    for one in (head, *made.values()):
        assert [group["GroupId"] for group in one["SecurityGroups"]] == [cloud]
        assert one["KeyName"] == f"ray-autoscaler_{REGION}"


def test_ray_finds_what_a_node_type_has(cloud: str) -> None:
    types = bootstrapped(edited(cloud))["available_node_types"]
    assert types["head"]["resources"] == {"CPU": 0}
    found = {name: kind["resources"] for name, kind in types.items() if name != "head"}
    assert all(has["GPU"] in (1, 8) and has["CPU"] >= 8 and has["memory"] > 2**34 for has in found.values())
    cards = {key for has in found.values() for key in has if key.startswith("accelerator_type:")}
    assert cards == {f"accelerator_type:{card}" for card in ("L4", "A10G", "L40S", "H100", "A100")}


def test_nobody_but_the_nodes_and_one_address_gets_in(cloud: str) -> None:
    import boto3

    bootstrapped(edited(cloud))
    account().make_group(REGION, HOME_ADDRESS)  # again: nothing is added
    groups = boto3.client("ec2", REGION).describe_security_groups(GroupIds=[cloud])["SecurityGroups"]
    rules = groups[0]["IpPermissions"]
    assert sorted(rule["IpProtocol"] for rule in rules) == ["-1", "tcp"]
    for rule in rules:
        if rule["IpProtocol"] == "-1":
            assert [pair["GroupId"] for pair in rule["UserIdGroupPairs"]] == [cloud]
            assert not rule["IpRanges"]
        else:
            assert (rule["FromPort"], rule["ToPort"]) == (22, 22)
            assert [one["CidrIp"] for one in rule["IpRanges"]] == [f"{HOME_ADDRESS}/32"]


def test_a_misspelt_parameter_is_refused(cloud: str) -> None:
    """That the first test can fail."""
    from botocore.exceptions import ParamValidationError
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    small = {"small-l4": {"node_config": {"ImageIdd": "ami-1"}}}
    config = bootstrapped(edited(cloud, {"available_node_types": small}))
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    with pytest.raises(ParamValidationError, match="ImageIdd"):
        provider.create_node(config["available_node_types"]["small-l4"]["node_config"], {}, 1)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_is_one_that_ray_takes(path: Path) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load(path.read_text())
    if config["provider"]["type"] != "aws":  # those of AWS look up their machines first, see above
        validate_config(prepare_config(config))
    for remote, local in config["file_mounts"].items():
        assert remote.endswith("auth_token") or (ROOT / local).exists(), local


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_is_closed_and_says_what_nodes_cost(path: Path) -> None:
    config = yaml.safe_load(path.read_text())
    starts = [
        c for role in ("head", "worker") for c in config.get(f"{role}_start_ray_commands", []) if "ray start" in c
    ]
    assert starts
    for command in starts:
        assert "RAY_AUTH_MODE=token" in command
        assert "--dashboard-host" not in command
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in starts[0]
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert config["provider"].get("cache_stopped_nodes", False) is False
    for name, kind in config.get("available_node_types", {}).items():
        assert kind["labels"]["apet-node-type"] == name
        assert float(kind["labels"]["apet-price"]) > 0
        assert "/home/" not in str(kind)


def test_what_reads_the_bucket_is_the_version_that_is_installed_later() -> None:
    pinned = re.search(r"^pyarrow==\S+", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    for path in FILES:
        assert set(re.findall(r"pyarrow==\S+", path.read_text())) <= {pinned[0]}
