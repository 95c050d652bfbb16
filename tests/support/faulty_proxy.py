"""A proxy before an S3 that spoils the requests it is told to, as networks and busy stores do."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

ANSWERS = {  # kinds that are an answer: status and S3's code
    "slow_down": (503, "SlowDown"),
    "denied": (403, "AccessDenied"),
    "expired": (400, "ExpiredToken"),
    "elsewhere": (301, "PermanentRedirect"),
}
KINDS = (*ANSWERS, "reset", "half", "hang", "slow", "cut", "lost_answer")


class FaultyProxy:
    """What it spoils, and what it has seen.

    Attributes:
        url: where it listens.
        seen: method and path of every request, spoilt ones included.
        spoilt: of those, the spoilt ones, and how.
    """

    def __init__(self, behind: str) -> None:
        self.behind = urlsplit(behind).netloc
        self.seen: list[tuple[str, str]] = []
        self.spoilt: list[tuple[str, str, str]] = []
        self.over = threading.Event()
        self.slow_s = 1.0
        self._faults: list[list[Any]] = []
        self._lock = threading.Lock()

    def spoil(self, kind: str, method: str = "", path: str = "", times: int = 1) -> None:
        """Spoil the next requests of a method whose path has a text in it.

        Args:
            kind: one of ``ANSWERS``; reset, breaks the connection unanswered; half, breaks it in the middle of the
                request's body; hang, never answers; slow, rests for ``slow_s`` in the middle of the answer; cut, breaks
                it there; lost_answer, does what is asked, and breaks the connection.
            times: so often.
        """
        assert kind in KINDS, kind
        with self._lock:
            self._faults.append([times, kind, method, path])

    def heal(self) -> None:
        """Spoil nothing more."""
        with self._lock:
            self._faults.clear()

    def fault(self, method: str, path: str) -> str:
        """How a request is to be spoilt; empty: not at all."""
        with self._lock:
            self.seen.append((method, path))
            for fault in self._faults:
                if fault[0] and fault[2] in (method, "") and fault[3] in path:
                    fault[0] -= 1
                    self.spoilt.append((fault[1], method, path))
                    return str(fault[1])
        return ""


@contextmanager
def faulty_proxy(behind: str) -> Iterator[FaultyProxy]:
    """One before the server of this URL, on a free port."""
    proxy = FaultyProxy(behind)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(proxy))
    server.daemon_threads = True
    proxy.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield proxy
    finally:
        proxy.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(proxy: FaultyProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            pass

        def handle_one(self) -> None:
            kind = proxy.fault(self.command, self.path)
            if kind == "half":
                self.rfile.read(100)
                self.hang_up()
                return
            body = self.body()
            if kind in ANSWERS:
                status, code = ANSWERS[kind]
                text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>told to</Message></Error>"
                self.answer(status, {"Content-Type": "application/xml"}, text.encode())
            elif kind == "reset":
                self.hang_up()
            elif kind == "hang":
                proxy.over.wait()
                self.hang_up()
            else:
                status, headers, data = self.ask(body)
                if kind == "lost_answer":
                    self.hang_up()
                else:
                    self.answer(status, headers, data, kind)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_one

        def body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") is None:
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            del self.headers["Transfer-Encoding"]  # in chunks: it is sent on in one piece
            chunks = list[bytes]()
            while size := int(self.rfile.readline().strip() or self.gone(), 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)

        def gone(self) -> str:
            raise ConnectionError("the client gave up in the middle")

        def ask(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
            behind = http.client.HTTPConnection(proxy.behind, timeout=60)
            behind.request(self.command, self.path, body, dict(self.headers))
            answer = behind.getresponse()
            data = answer.read()
            behind.close()
            return answer.status, dict(answer.getheaders()), data

        def answer(self, status: int, headers: dict[str, str], data: bytes, kind: str = "") -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                    self.send_header(name, value)
            length = headers.get("Content-Length") if self.command == "HEAD" else None
            self.send_header("Content-Length", length or str(len(data)))
            self.end_headers()
            if self.command == "HEAD":
                return
            half = len(data) // 2
            self.wfile.write(data[:half])
            if kind == "cut":
                self.hang_up()
                return
            if kind == "slow":
                time.sleep(proxy.slow_s)
            self.wfile.write(data[half:])

        def hang_up(self) -> None:
            """Break the connection with a reset, not an orderly end."""
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:  # the client gave up first
                self.close_connection = True

        def finish(self) -> None:
            with suppress(OSError, ValueError):
                super().finish()

    return Handler
