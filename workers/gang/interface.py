"""Which of this machine's network interfaces leads to another machine."""

from __future__ import annotations

import fcntl
import socket
import struct
import sys
from contextlib import suppress

SIOCGIFADDR = 0x8915  # of Linux: an interface's address, see netdevice(7)
ADDRESS = slice(20, 24)  # of the answer
DISCARD = 9  # a port; a datagram socket that connects sends nothing


def interface_to(host: str) -> str:
    """The interface by which this machine reaches a host, its own address included; empty where nobody can say.

    Args:
        host: name or IPv4 address.
    """
    if sys.platform != "linux":
        return ""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way, suppress(OSError):
        way.connect((host, DISCARD))
        mine = socket.inet_aton(way.getsockname()[0])
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # it has no address
                if fcntl.ioctl(way, SIOCGIFADDR, struct.pack("256s", name.encode()))[ADDRESS] == mine:
                    return name
    return ""
