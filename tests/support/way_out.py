"""A way out for hosts that have none: an HTTP proxy that knows CONNECT, on an address that they reach."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

MOST = 8192  # bytes of a request's head
WAIT_S = 120.0


@contextmanager
def way_out(address: str) -> Iterator[str]:
    """Its URL, for ``https_proxy``.

    Args:
        address: of this machine, to listen on.
    """
    with socket.create_server((address, 0)) as server:
        threading.Thread(target=_serve, args=(server,), daemon=True).start()
        yield f"http://{address}:{server.getsockname()[1]}"


def _serve(server: socket.socket) -> None:
    with suppress(OSError):  # it was closed
        while True:
            threading.Thread(target=_answer, args=(server.accept()[0],), daemon=True).start()


def _answer(client: socket.socket) -> None:
    """``CONNECT host:port``, then bytes both ways until one side ends."""
    with client, suppress(OSError, ValueError):
        head = b""
        while b"\r\n\r\n" not in head and len(head) < MOST:
            head += client.recv(MOST)
        method, place, _ = head.decode().split(" ", 2)
        if method != "CONNECT":
            client.sendall(b"HTTP/1.1 405 CONNECT only\r\n\r\n")
            return
        host, port = place.rsplit(":", 1)
        with socket.create_connection((host, int(port)), timeout=WAIT_S) as there:
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            other = {client: there, there: client}
            while ready := select.select(list(other), [], [], WAIT_S)[0]:
                for one in ready:
                    if not (some := one.recv(2**16)):
                        return
                    other[one].sendall(some)
