"""A cloud of this machine's own: moto as the API of AWS, test hosts as its machines, and cluster.yaml on it.

What the file must say otherwise than a user's is :func:`overlay`, and nothing else; it is printed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import moto_server
from aws_file import BUCKET, edited, written
from hosts import Hosts
from paths import ROOT
from ready import OFFLINE, READY

FIRST = 4  # moto's first address of a subnet; it gives none away twice


@dataclass
class Cloud:
    """A cloud that is up.

    Args:
        hosts: its machines, ``m0`` the first that EC2 will give away.
        url: of AWS.
        file: cluster.yaml as used here.
    """

    hosts: Hosts
    url: str
    file: Path

    def here(self, command: str, timeout: float = 300.0, check: bool = True) -> CompletedProcess[str]:
        """Run a command on the launching side, in the clone, as a user with AWS keys would."""
        words = ("bash", "-c", f"apet() {{ python -c 'from orchestrator.cli import main; main()' \"$@\"; }}; {command}")
        with chdir(ROOT):
            return self.hosts.here(*words, timeout=timeout, check=check, **moto_server.environment(self.url))

    def client(self, service: str) -> Any:
        """Of boto3."""
        import boto3

        return boto3.client(
            service, moto_server.REGION, endpoint_url=self.url, aws_access_key_id="test", aws_secret_access_key="test"
        )

    def machines(self) -> dict[str, dict[str, Any]]:
        """What EC2 says of machines that aren't terminated, by host; in ``type`` their node type."""
        found = {}
        for reservation in self.client("ec2").describe_instances()["Reservations"]:
            for one in reservation["Instances"]:
                if one["State"]["Name"] in ("pending", "running"):
                    tags = {tag["Key"]: tag["Value"] for tag in one["Tags"]}
                    host = f"m{int(one['PrivateIpAddress'].rpartition('.')[2]) - FIRST}"
                    found[host] = {**one, "type": tags["ray-user-node-type"]}
        return found

    def take_back(self, host: str) -> None:
        """As EC2 ends a spot machine, without a notice."""
        instance = self.machines()[host]["InstanceId"]
        self.hosts.kill(host)
        self.client("ec2").terminate_instances(InstanceIds=[instance])


@contextmanager
def cloud(machines: int, changes: Mapping[str, Any]) -> Iterator[Cloud]:
    """A cloud with an account, in which nothing runs yet.

    Args:
        machines: that EC2 can give away, all told.
        changes: to the file, beside :func:`overlay`.
    """
    names = [f"m{i}" for i in range(machines)]
    with (
        Hosts(names, first=FIRST, variables={"LANG": "C.UTF-8"}) as hosts,
        moto_server.moto_server(hosts.gateway) as url,
    ):
        made = Cloud(hosts, url, hosts.folder / "cluster.yaml")
        ec2 = made.client("ec2")
        vpc = ec2.create_vpc(CidrBlock=hosts.network)["Vpc"]["VpcId"]
        zone = f"{moto_server.REGION}a"
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock=hosts.network, AvailabilityZone=zone)["Subnet"]["SubnetId"]
        key = hosts.folder / "home" / ".ssh" / f"ray-autoscaler_{moto_server.REGION}.pem"  # as Ray would name its own
        key.parent.mkdir(mode=0o700)
        key.write_bytes(hosts.key.read_bytes())
        key.chmod(0o600)
        public = hosts.key.with_suffix(".pub").read_bytes()
        ec2.import_key_pair(KeyName=key.stem, PublicKeyMaterial=public)
        said = made.here(f"python clusters/account.py --bucket {BUCKET} --vpc {vpc} --ssh-from 203.0.113.7").stdout
        group = said.partition("&group [")[2].partition("]")[0]
        own = overlay(edited(group), subnet, url)
        print("the overlay:", json.dumps({**own, **changes}, indent=1))
        written(edited(group, {**own, **changes}), made.file)
        yield made


def overlay(config: Mapping[str, Any], subnet: str, url: str) -> dict[str, Any]:
    """What a test must say otherwise: addresses, who logs in, and how a machine without a network comes by packages.

    Args:
        config: the file.
        subnet: whose addresses the hosts have.
        url: of AWS; on its own machines roles give the keys that stand beside it here.
    """
    exports = {**moto_server.environment(url), **OFFLINE, "APET_DEVICE": "cpu"}
    environment = "".join(f"export {name}={value}\n" for name, value in exports.items())
    subnets = {"node_config": {"SubnetIds": [subnet]}}
    return {
        "provider": {"use_internal_ips": True},
        "auth": {"ssh_user": "root"},
        "setup_commands": [f"echo '{environment}' >>~/.bashrc", READY, *config["setup_commands"]],
        "available_node_types": dict.fromkeys(config["available_node_types"], subnets),
    }
