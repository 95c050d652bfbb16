"""The report is written again while a store fills, is whole at any moment, and ends by Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from study_rows import curve, study, write

from orchestrator.reporting.watching import watch
from trials.errors import ApetError
from trials.store.store import Store


def test_it_is_written_again_when_there_are_new_attempts_and_only_then(tmp_path: Path) -> None:
    store, out = Store(tmp_path / "store"), tmp_path / "out"
    more = iter([study()[:12], [], curve({64: [0.5, 0.55], 128: [0.6, 0.5]}, task="mrpc")])

    def pause(_: float) -> None:
        rows = next(more, None)
        if rows is None:
            raise KeyboardInterrupt
        if rows:
            write(tmp_path / "store", rows)

    looks = watch(store, out, pause=pause)
    seen = [next(looks)]
    assert seen[0].error == f"no store at {store.uri} yet"
    assert not out.exists()
    seen.append(next(looks))
    page = (out / "index.html").read_text()
    assert 'id="reload"' in page
    assert "mrpc" not in page
    seen.append(next(looks))  # the second look found nothing new
    assert [look.attempts for look in seen] == [0, 12, 16]
    assert (out / "score-mrpc.svg").is_file()
    with pytest.raises(KeyboardInterrupt):
        next(looks)
    page = (out / "index.html").read_text()
    assert "mrpc" in page
    assert 'id="reload"' not in page  # nobody writes it any more


def test_figures_that_have_not_changed_are_not_drawn_again(tmp_path: Path) -> None:
    store, out = write(tmp_path / "store", study()), tmp_path / "out"
    looks = watch(
        store, out, pause=lambda _: write(tmp_path / "store", curve({64: [0.5, 0.55], 128: [0.6, 0.5]}, task="mrpc"))
    )
    next(looks)
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    next(looks)
    looks.close()
    after = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    same = {name for name in before if after.get(name) == before[name]}
    assert {"score-rotten_tomatoes.svg", "score-rotten_tomatoes.png", "methods-rotten_tomatoes.svg"} <= same
    assert not same & {"index.html", "brackets.svg", "overview.csv"}
    assert "score-mrpc.png" in after


def test_what_can_not_be_written_at_first_ends_it(tmp_path: Path) -> None:
    store = write(tmp_path / "store", study()[:3])
    (tmp_path / "file").write_text("")
    with pytest.raises(ApetError, match="can't write"):
        next(watch(store, tmp_path / "file"))
    with pytest.raises(ApetError, match="no trial"):
        next(watch(store, tmp_path / "out", where="task = 'nothing'"))


def test_ctrl_c_ends_it_well(tmp_path: Path) -> None:
    store = write(tmp_path / "store", study()[:12])
    code = "from orchestrator.cli import main; main()"
    command = [sys.executable, "-c", code, "report", "--store", store.uri, "--out", str(tmp_path / "out"), "--watch"]
    root = str(Path(__file__).parents[3])
    watching = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=root, env={**os.environ})
    page = tmp_path / "out" / "index.html"
    until = time.monotonic() + 120
    while not page.is_file():
        assert watching.poll() is None, watching.communicate()
        assert time.monotonic() < until
        time.sleep(0.1)
    time.sleep(0.5)
    watching.send_signal(signal.SIGINT)
    _, said = watching.communicate(timeout=60)
    assert watching.returncode == 0, said
    assert "Traceback" not in said
    assert f"{page}: 12 attempts" in said
    assert 'id="reload"' not in page.read_text()
    assert not [path for path in page.parent.iterdir() if path.name.startswith(".")]
