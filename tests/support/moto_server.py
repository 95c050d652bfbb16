"""moto's EC2, IAM and S3 in a process of its own, as if it were AWS: ``with moto_server() as url``.

As a program: ``python moto_server.py HOST`` says its port in one line and ends with its standard input, so that nothing
is left of it when the test is killed.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

REGION = "us-east-1"


@contextmanager
def moto_server(host: str = "127.0.0.1") -> Iterator[str]:
    """Its URL; its state goes with it.

    Args:
        host: address to listen on; the port is a free one.
    """
    pytest.importorskip("moto.server", reason="no AWS to test with: pip install 'moto[ec2,iam,s3,server]'")
    command = [sys.executable, str(Path(__file__).resolve()), host]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            port = process.stdout.readline().strip()
            assert port, f"moto ended with {process.wait()}"
            yield f"http://{host}:{port}"
        finally:
            process.stdin.close()
            process.wait(timeout=30)


def environment(url: str) -> dict[str, str]:
    """What makes pyarrow, boto3 and Ray's launcher talk to it."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def make_bucket(url: str, name: str) -> None:
    """An empty bucket."""
    from pyarrow.fs import S3FileSystem

    S3FileSystem(
        access_key="test",
        secret_key="test",
        endpoint_override=url,
        region=REGION,
        allow_bucket_creation=True,
    ).create_dir(name)


def serve(host: str) -> None:
    """Answer until standard input ends."""
    import logging
    import os
    import threading

    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else a line a request
    server = make_server(host, 0, DomainDispatcherApplication(create_backend_app), threaded=True)
    os.environ["MOTO_PORT"] = str(server.port)
    print(server.port, flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()
    os._exit(0)  # a client that keeps its connection open would hold the server


if __name__ == "__main__":
    serve(sys.argv[1])
