"""What an AWS file must say, since Ray's defaults are old, open or dear; all offline."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

from orchestrator.clusters import ec2
from orchestrator.clusters.document import Path, mapping
from orchestrator.clusters.finding import Case, Problem, error, warning
from orchestrator.clusters.node_type import NodeType

_IMAGE = re.compile(r"ami-([0-9a-f]{17}|[0-9a-f]{8})")
_EXAMPLES = re.compile(r"ami-(0123456789abcdef0?|1234567890abcdef0|(.)\2+)")  # of documentation


def parameters(case: Case) -> Iterator[Problem]:
    """``node_config`` is what EC2's RunInstances takes, every key spelt as it says."""
    types = _types(case)
    if types and not ec2.known():
        said = "boto3 isn't installed: node_config can't be checked, and `ray up` needs it"
        yield warning(("provider", "type"), said, "pip install 'apet[cluster]'")
        return
    for one in types:
        for level, path, said, mend in ec2.wrong(one.node_config):
            yield Problem(level, one.at("node_config", *path), said, mend)


def instance(case: Case) -> Iterator[Problem]:
    """Every node type names an instance type that there is."""
    for one in _types(case):
        path, known = one.at("node_config", "InstanceType"), ec2.instances()
        if "InstanceType" not in one.node_config:
            if "LaunchTemplate" not in one.node_config:
                yield error(path, "no InstanceType", "add one, g5.2xlarge say")
        elif known and one.instance not in known:
            near = difflib.get_close_matches(one.instance, known, n=1)
            mend = f"did you mean {near[0]}?" if near else "look it up"
            said = f"boto3 here, which may be older than it, doesn't know instance type {one.instance}"
            yield warning(path, said, mend)
        elif one.machine() is None and one.shape is None and one.nodes and one.resources.get("CPU") != 0:
            said = f"what an {one.instance} has isn't in this project's table, and nothing can be planned"
            yield warning(path, said, "give resources: {CPU, GPU, memory (bytes), accelerator_type:NAME}")


def image(case: Case) -> Iterator[Problem]:
    """Every node type names an image: Ray's own is Ubuntu 18.04, whose Python is too old."""
    mend = "give the id of an Ubuntu 24.04 image of your region"
    for one in _types(case):
        name, path = one.node_config.get("ImageId"), one.at("node_config", "ImageId")
        if name is None and "LaunchTemplate" not in one.node_config:
            yield error(path, "no ImageId: Ray's own is Ubuntu 18.04, whose Python is too old", mend)
        elif isinstance(name, str) and name.lower() == "latest_dlami":
            yield error(path, f"ImageId {name} is Ubuntu 18.04, whose Python is too old", mend)
        elif isinstance(name, str) and not _is_image(name):
            yield error(path, f"ImageId {name} is no image's, it only shows where one goes", mend)


def role(case: Case) -> Iterator[Problem]:
    """Every node type has an instance profile: Ray gives its own to the head only, and workers need the bucket."""
    for one in _types(case):
        if not {"IamInstanceProfile", "LaunchTemplate"} & set(one.node_config):
            said = "no IamInstanceProfile: Ray gives one to the head only, and the bucket needs it"
            yield error(one.at("node_config"), said, "add IamInstanceProfile: {Name: …}, of a role that may use S3")


def stopped(case: Case) -> Iterator[Problem]:
    """Spot nodes are terminated, not kept: ``cache_stopped_nodes``, true by default, fails on them."""
    spot = [one.name for one in _types(case) if one.spot]
    if spot and case.file.provider.get("cache_stopped_nodes", True) is not False:
        said = f"cache_stopped_nodes is on, and {', '.join(spot)} are spot nodes, which can't be stopped and kept"
        yield error(("provider", "cache_stopped_nodes"), said, "write cache_stopped_nodes: false in provider")


def zones(case: Case) -> Iterator[Problem]:
    """The region is said, and nodes may come from several of its zones: a type is often sold out in one."""
    if case.file.kind != "aws":
        return
    region, listed = case.file.provider.get("region"), case.file.provider.get("availability_zone")
    if not isinstance(region, str):
        yield error(("provider",), "provider.region is missing", "add region: us-east-1, or where your quota is")
    names = [word.strip() for word in listed.split(",") if word.strip()] if isinstance(listed, str) else []
    path: Path = ("provider", "availability_zone")
    for name in names:
        if isinstance(region, str) and not name.startswith(region):
            yield error(path, f"availability_zone {name} isn't in region {region}", f"write zones of {region}")
    if len(names) == 1 and case.file.workers:
        said = f"availability_zone {names[0]} alone: if it has no such machine, the sweep waits"
        yield warning(path, said, f"list several: {names[0][:-1]}a,{names[0][:-1]}b")


def disk(case: Case) -> Iterator[Problem]:
    """The disk is large enough to be said, and goes with its node."""
    for one in _types(case):
        mappings = one.node_config.get("BlockDeviceMappings")
        if mappings is None and "LaunchTemplate" not in one.node_config:
            said = "no BlockDeviceMappings: the disk is as large as the image, 8 GB with Ubuntu's"
            yield warning(one.at("node_config"), said, "add one of 100 GB or more, for packages and weights")
        for index, found in enumerate(mappings if isinstance(mappings, list) else []):
            if mapping(mapping(found).get("Ebs")).get("DeleteOnTermination") is False:
                said = "DeleteOnTermination is false: disks stay when nodes go, and are paid for"
                where = one.at("node_config", "BlockDeviceMappings", index, "Ebs", "DeleteOnTermination")
                yield warning(where, said, "set it to true")


def login(case: Case) -> Iterator[Problem]:
    """A key of your own is known to EC2 by its name: else Ray stops."""
    if "ssh_private_key" in mapping(case.file.raw.get("auth")):
        for one in _types(case):
            if not {"KeyName", "UserData", "LaunchTemplate"} & set(one.node_config):
                said = "no KeyName, and auth.ssh_private_key is given"
                yield error(one.at("node_config"), said, "add KeyName: the key's name in EC2, or drop ssh_private_key")


def _is_image(name: str) -> bool:
    found = _IMAGE.fullmatch(name) and not _EXAMPLES.fullmatch(name)
    return bool(found) or name.startswith("resolve:ssm:")  # a parameter of Amazon's that names the newest


def _types(case: Case) -> list[NodeType]:
    return list(case.file.node_types.values()) if case.file.kind == "aws" else []
