"""A cloud's notice that it takes this machine away, which a spot machine has to ask for on an address of its own.

Amazon gives two minutes, Google half a minute. Both services and what they answer: "Spot Instance interruption notices"
in Amazon's guide to EC2, "Detect if a VM was preempted" in Google's to Compute Engine.
"""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Callable, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

VENDOR = Path("/sys/class/dmi/id/sys_vendor")  # who made this machine
ANSWER_S = 2.0
NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Cloud(NamedTuple):
    """What gives notice.

    Args:
        vendor: as :data:`VENDOR` names its machines.
        variable: the provider's own, of the environment: where the service is, if that is somewhere else.
        address: where it is.
        left_s: seconds from the notice to the end.
        ask: whether there is a notice, of the service at an address.
    """

    vendor: str
    variable: str
    address: str
    left_s: int
    ask: Callable[[str], bool]


def notice() -> int:
    """Seconds until this machine is taken away, as its cloud says; 0 where nobody says so."""
    for cloud in CLOUDS:
        address = os.environ.get(cloud.variable) or (cloud.address if _vendor() == cloud.vendor else "")
        if address and cloud.ask(address):
            return cloud.left_s
    return 0


def _amazon(address: str) -> bool:
    """It has an answer once there is a notice."""
    token = _get(f"{address}/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"}, "PUT")
    return bool(_get(f"{address}/latest/meta-data/spot/instance-action", {"X-aws-ec2-metadata-token": token}))


def _google(address: str) -> bool:
    where = f"http://{address}/computeMetadata/v1/instance/preempted"
    return _get(where, {"Metadata-Flavor": "Google"}).strip() == "TRUE"


CLOUDS = (
    Cloud("Amazon EC2", "AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254", 120, _amazon),
    Cloud("Google", "GCE_METADATA_HOST", "169.254.169.254", 30, _google),
)


def _vendor() -> str:
    try:
        return VENDOR.read_text().strip()
    except OSError:
        return ""


def _get(url: str, headers: Mapping[str, str], method: str = "GET") -> str:
    """What a service says; nothing where it has no such page, or doesn't answer."""
    asked = urllib.request.Request(url, headers=dict(headers), method=method)
    try:
        with NO_PROXY.open(asked, timeout=ANSWER_S) as answer:
            return str(answer.read().decode(errors="replace"))
    except (OSError, HTTPException):
        return ""
