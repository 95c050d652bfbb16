"""Who can reach the nodes from outside."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.clusters.document import mapping
from orchestrator.clusters.finding import Case, Problem, error, warning

WORLD = ("0.0.0.0/0", "::/0")


def groups(case: Case) -> Iterator[Problem]:
    """Every AWS node is in a security group of yours: one that Ray makes opens port 22 to the world, whatever else
    the file says of it."""
    if case.file.kind != "aws":
        return
    given = mapping(case.file.provider.get("security_group"))
    lacking = [
        one.name
        for one in case.file.node_types.values()
        if not {"SecurityGroupIds", "NetworkInterfaces", "LaunchTemplate"} & set(one.node_config)
    ]
    if lacking and "GroupName" in given:
        said = (
            f"security group {given['GroupName']}: if it isn't there yet, Ray makes it and opens port 22 to the world"
        )
        mend = "make it before, with the rules you want (see docs/cluster.md)"
        yield warning(("provider", "security_group", "GroupName"), said, mend)
    else:
        for name in lacking:
            said = "no SecurityGroupIds: Ray makes a group that opens port 22 to the world"
            where = ("available_node_types", name, "node_config")
            yield error(where, said, "add SecurityGroupIds: [sg-…], a group that lets only your address in")


def rules(case: Case) -> Iterator[Problem]:
    """No rule of the file lets the whole world in."""
    permissions = mapping(case.file.provider.get("security_group")).get("IpPermissions")
    for index, rule in enumerate(permissions if isinstance(permissions, list) else []):
        found = mapping(rule)
        for key, name in (("IpRanges", "CidrIp"), ("Ipv6Ranges", "CidrIpv6")):
            ranges = found.get(key)
            for one in ranges if isinstance(ranges, list) else []:
                address = mapping(one).get(name)
                if address in WORLD:
                    ports = f"{found.get('FromPort', 'all')} to {found.get('ToPort', 'all')}"
                    said = f"ports {ports} are open to the world ({address})"
                    where = ("provider", "security_group", "IpPermissions", index)
                    yield error(where, said, "write your own address: 203.0.113.7/32, say")
