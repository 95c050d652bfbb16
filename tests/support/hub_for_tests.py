"""A stand-in for the hub: models and data sets from memory, slowly, and a count of what was asked for."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

SHA = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """One that has a few repositories.

    Args:
        repositories: ``models/OWNER/NAME`` or ``datasets/OWNER/NAME`` → name of a file → its content.
        pause_s: rest in the middle of a file.

    Attributes:
        url: for ``HF_ENDPOINT``.
        sent: how often each file was sent, by repository and name.
    """

    url = ""

    def __init__(self, repositories: Mapping[str, Mapping[str, bytes]], pause_s: float) -> None:
        self.repositories, self.pause_s = repositories, pause_s
        self.sent, self.unknown, self.lock = Counter[tuple[str, str]](), list[str](), threading.Lock()


@contextmanager
def hub(repositories: Mapping[str, Mapping[str, bytes]], pause_s: float = 0.3) -> Iterator[Hub]:
    """A hub on a free port."""
    made = Hub(repositories, pause_s)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(made))
    server.daemon_threads = True
    made.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(made: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length)
            path = unquote(urlsplit(self.path).path).strip("/")
            for repository, files in made.repositories.items():
                if path.startswith(f"api/{repository}"):
                    self.about(path.removeprefix(f"api/{repository}").strip("/"), repository, files, body)
                    return
                resolved = f"{repository.removeprefix('models/')}/resolve/"
                name = path.removeprefix(resolved).partition("/")[2]
                if path.startswith(resolved) and name in files:
                    self.file(repository, name, files[name])
                    return
            with made.lock:
                made.unknown.append(f"{self.command} {self.path}")
            self.answer(404, b"{}", {"X-Error-Code": "EntryNotFound"})

        do_HEAD = do_POST = do_GET

        def about(self, rest: str, repository: str, files: Mapping[str, bytes], body: bytes) -> None:
            kind, _, _ = rest.partition("/")
            tree = [
                {"type": "file", "path": name, "size": len(data), "oid": _etag(data)} for name, data in files.items()
            ]
            if kind == "tree":
                self.json(tree)
            elif kind == "paths-info":
                asked = [
                    unquote(part.partition("=")[2]) for part in body.decode().split("&") if part.startswith("paths")
                ]
                wanted = json.loads(body)["paths"] if body.startswith(b"{") else asked
                self.json([entry for entry in tree if entry["path"] in wanted])
            else:
                siblings = [{"rfilename": name, "size": len(data)} for name, data in files.items()]
                name = repository.partition("/")[2]
                self.json({"id": name, "sha": SHA, "siblings": siblings, "private": False, "gated": False, "tags": []})

        def file(self, repository: str, name: str, data: bytes) -> None:
            headers = {"ETag": f'"{_etag(data)}"', "X-Repo-Commit": SHA, "Accept-Ranges": "bytes"}
            if self.command == "GET":
                with made.lock:
                    made.sent[repository, name] += 1
            self.answer(200, data, headers)

        def json(self, value: Any) -> None:
            self.answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

        def answer(self, status: int, data: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            half = len(data) // 2
            self.wfile.write(data[:half])
            if "ETag" in headers:
                time.sleep(made.pause_s)
            self.wfile.write(data[half:])

    return Handler


def _etag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:40]
