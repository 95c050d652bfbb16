"""``apet cluster check`` as it is typed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from cluster_files import good
from paths import ROOT
from shell import apet


@pytest.fixture
def launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the launcher's home, with a token and the mode."""
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("secret")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, text: str) -> Path:
    (folder / "cluster.yaml").write_text(text)
    return folder / "cluster.yaml"


def test_nothing_is_printed_of_a_good_file(launcher: Path) -> None:
    done = apet("cluster", "check", write(launcher, good("aws")))
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr.endswith("cluster.yaml: nothing is wrong\n")


def test_a_warning_is_printed_and_is_no_failure(launcher: Path) -> None:
    (launcher / ".ray" / "auth_token").unlink()
    done = apet("cluster", "check", write(launcher, good("aws")))
    assert done.exit_code == 0
    assert ": warning: there is no token yet at ~/.ray/auth_token; make one: ray get-auth-token --gen" in done.stdout
    assert done.stderr.endswith("0 errors, 1 warning\n")


def test_all_errors_come_at_once_with_line_rule_and_mend(launcher: Path) -> None:
    text = good("aws").replace("InstanceType: g5", "InstanceTyp: g5").replace("idle_timeout_minutes", "idle_minutes")
    done = apet("cluster", "check", write(launcher, text))
    assert done.exit_code == 2
    lines = done.stdout.splitlines()
    path = launcher / "cluster.yaml"
    assert f"{path}:3: error: idle_minutes is no key of Ray's here; " in lines[1]
    assert "[schema.ray]" in lines[1]
    wrong = next(one for one in lines if "InstanceTyp is no parameter" in one)
    assert wrong.startswith(f"{path}:29: error: small: ")
    assert "did you mean InstanceType?" in wrong
    assert done.stderr.endswith("3 errors, 1 warning\n")


def test_json_has_every_finding_and_holding(launcher: Path) -> None:
    path = write(launcher, good("aws").replace("MarketType: spot", "MarketType: spott", 1))
    done = apet("cluster", "check", path, "count", "--store", "s3://study/x", "--json")
    assert done.exit_code == 0
    said = json.loads(done.stdout)
    (finding,) = said["findings"]
    assert finding["rule"] == "amazon.parameters"
    assert finding["line"] == 33
    assert finding["level"] == "warning"
    assert finding["mend"] == "did you mean spot? Else drop it"
    assert {one["backbone"] for one in said["holdings"]} >= {"t5-xxl", "bert-small"}
    assert all(one["cost"] > 0 for one in said["holdings"])
    assert said["head_price"] == 0.1


def test_a_sweep_is_priced_node_type_by_node_type(launcher: Path) -> None:
    done = apet("cluster", "check", write(launcher, good("aws")), "count")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0].split()[:2] == ["backbone", "trials"]
    assert any(line.startswith("t5-xxl") and " large " in line for line in lines)
    assert lines[-1].startswith("about $")
    assert "the head takes $0.1 an hour" in lines[-1]


def test_a_price_that_isnt_known_is_said(launcher: Path) -> None:
    text = good("aws").replace(', apet-price: "0.5"', "").replace(', apet-price: "12"', "")
    done = apet("cluster", "check", write(launcher, text), "count")
    assert done.exit_code == 0
    assert done.stdout.splitlines()[-1] == "what it costs isn't known: labels apet-price say $ an hour of a node"


def test_a_backbone_that_fits_nowhere_is_an_error(launcher: Path) -> None:
    done = apet("cluster", "check", write(launcher, good("gcp")), "count")
    assert done.exit_code == 2
    assert "t5-xxl full fits on no node type: " in done.stdout
    assert "[sweep.holds]" in done.stdout


def test_what_is_no_file_is_one_line(launcher: Path) -> None:
    for text, said in [(None, "no cluster file at"), ("", "is empty"), ("a: [", "not YAML")]:
        path = launcher / "none.yaml" if text is None else write(launcher, text)
        done = apet("cluster", "check", path)
        assert (done.exit_code, done.stdout) == (2, "")
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_neither_ray_nor_torch_is_imported(launcher: Path) -> None:
    """Each takes seconds, and the command has two."""
    path = write(launcher, good("aws"))
    code = (
        "import sys; from orchestrator.cli import app\n"
        f"try: app(['cluster', 'check', {str(path)!r}, 'count'])\n"
        "except SystemExit as end: print(end.code)\n"
        "print(sorted({'ray', 'torch', 'transformers', 'boto3'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-2:] == ["0", "[]"]
