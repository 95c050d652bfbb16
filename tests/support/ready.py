"""A virtual environment for machines that have no network, in which pip finds all packages of the tests' own."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

OFFLINE = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0"}
PROGRAMS = {"pip": "pip._internal.cli.main", "ray": "ray.scripts.scripts"}
CODE = r"#!%s\nfrom {} import main\nraise SystemExit(main())\n"
READY = "\n".join(
    (
        f"test -x ~/apet/bin/pip || {Path(sys.base_prefix, 'bin', 'python3')} -m venv --without-pip ~/apet",
        f"echo {sysconfig.get_paths()['purelib']} >$(echo ~/apet/lib/python3*/site-packages)/ready.pth",
        *(f"printf '{CODE.format(place)}' ~/apet/bin/python >~/apet/bin/{name}" for name, place in PROGRAMS.items()),
        "chmod +x ~/apet/bin/pip ~/apet/bin/ray",
    )
)
