"""What `cluster.yaml` needs of an AWS account, made once: ``python clusters/account.py --bucket NAME``.

A private bucket; the roles `apet-head`, which may start and end machines, and `apet-worker`, which may use the bucket;
a security group that lets its own nodes talk to each other and ssh in from one address. What is there already is kept,
so it may run again: from another place it adds that address. It needs boto3 (extra `cluster`) and your AWS keys.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import urllib.request
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.exceptions import ClientError

WHOSE_ADDRESS = "https://checkip.amazonaws.com"  # answers with the address that asks
GROUP = "apet"
THERE = {  # what AWS says of things that are there
    "BucketAlreadyOwnedByYou",
    "EntityAlreadyExists",
    "InvalidPermission.Duplicate",
    "LimitExceeded",  # a profile that has its one role
    "InvalidInput",  # Amazon's own role
}
EC2 = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
MACHINES = [f"ec2:{verb}" for verb in ("Describe*", "RunInstances", "TerminateInstances", "CreateTags", "DeleteTags")]


def main() -> None:
    """Make what isn't there, and say what to write into the file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bucket", required=True, help="for the clusters' files, and for stores if you like")
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--ssh-from", help="the address that may ssh in; default: yours, as Amazon sees it")
    parser.add_argument("--vpc", help="network of the security group; default: the region's default one")
    asked = parser.parse_args()
    make_bucket(asked.bucket, asked.region)
    make_roles(asked.bucket, asked.region)
    group = make_group(asked.region, asked.ssh_from or own_address(), asked.vpc)
    print("In cluster.yaml:")
    print(f"  region: {asked.region}, and zones of it")
    print(f"  echo s3://{asked.bucket}/clusters/apet >~/apet-shelf")
    print(f"  group: &group [{group}]")


def own_address() -> str:
    """This machine's, as the internet sees it."""
    with urllib.request.urlopen(WHOSE_ADDRESS, timeout=10) as answer:
        return str(answer.read().decode().strip())


def make_bucket(name: str, region: str) -> None:
    """A bucket that is closed to the public, as new ones are."""
    there = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    with unless_there():
        boto3.client("s3", region).create_bucket(Bucket=name, **there)


def make_roles(bucket: str, region: str) -> None:
    """The two roles, each with an instance profile of its name; and Amazon's own, which spot machines need."""
    iam = boto3.client("iam", region)
    with unless_there():
        iam.create_service_linked_role(AWSServiceName="spot.amazonaws.com")
    uses = {"Effect": "Allow", "Action": "s3:*", "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]}
    worker = make_role(iam, "apet-worker", [uses])
    starts = [
        {"Effect": "Allow", "Action": [*MACHINES, "ssm:GetParameters"], "Resource": "*"},  # ssm: names of images
        {"Effect": "Allow", "Action": "iam:PassRole", "Resource": worker},
    ]
    make_role(iam, "apet-head", [uses, *starts])


def make_role(iam: Any, name: str, statements: list[dict[str, Any]]) -> str:
    """A role that machines take on, with these permissions; its ARN."""
    with unless_there():
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=policy([EC2]))
    iam.put_role_policy(RoleName=name, PolicyName="apet", PolicyDocument=policy(statements))
    with unless_there():
        iam.create_instance_profile(InstanceProfileName=name)
    with unless_there():
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    return str(iam.get_role(RoleName=name)["Role"]["Arn"])


def policy(statements: list[dict[str, Any]]) -> str:
    """As IAM takes it."""
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def make_group(region: str, address: str, vpc: str | None = None) -> str:
    """The security group's id.

    Args:
        region: of the network.
        address: that may ssh in.
        vpc: the network; None: the default one.
    """
    ec2 = boto3.client("ec2", region)
    if vpc is None:
        vpc = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
    named = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "group-name", "Values": [GROUP]}]
    found = ec2.describe_security_groups(Filters=named)["SecurityGroups"]
    if found:
        group = found[0]["GroupId"]
    else:
        group = ec2.create_security_group(GroupName=GROUP, Description="nodes of apet", VpcId=vpc)["GroupId"]
    one = ipaddress.ip_network(address)  # an address alone is a network of one
    rules = [
        {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]},
        {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": str(one)}]},
    ]
    for rule in rules:
        with unless_there():
            ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
    return str(group)


@contextmanager
def unless_there() -> Any:
    """Keep what is there already."""
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] not in THERE:
            raise


if __name__ == "__main__":
    main()
