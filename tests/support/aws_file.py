"""The project's cluster.yaml as a user would edit it, and an account of moto's to use it with."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml
from paths import ROOT

BUCKET, REGION = "apet-test", "us-east-1"
HOME_ADDRESS = "203.0.113.7"  # of documentation, nobody's


def account() -> ModuleType:
    """clusters/account.py, which is a program."""
    spec = importlib.util.spec_from_file_location("account", ROOT / "clusters" / "account.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def edited(group: str, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """cluster.yaml with a bucket and a security group, and with changes, which are laid over it.

    Args:
        group: id of the security group.
        changes: mappings are merged, a null takes a key away, all else is replaced.
    """
    text = (ROOT / "cluster.yaml").read_text()
    for placeholder, mine in (("YOUR-BUCKET", BUCKET), ("sg-YOURS", group)):
        assert placeholder in text
        text = text.replace(placeholder, mine)
    return merged(yaml.safe_load(text), changes or {})


def merged(under: Any, over: Any) -> Any:
    """``over`` laid over ``under``."""
    if not (isinstance(under, dict) and isinstance(over, Mapping)):
        return over
    left = {key: value for key, value in under.items() if over.get(key, value) is not None}
    return left | {key: merged(under.get(key), value) for key, value in over.items() if value is not None}


def written(config: Mapping[str, Any], path: Path) -> Path:
    """As a file; JSON is YAML."""
    path.write_text(json.dumps(config, indent=1))
    return path
