"""The command line: exit codes, streams, what is listed, how long it takes to answer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from shell import SMALL, apet, refused, row, small, stored

import orchestrator.driver.run as driver
from orchestrator.driver.summary import Summary
from trials.sweep.sweep import Sweep

COMMANDS = [
    *("plan", "run", "submit", "status", "resubmit"),
    *("show", "query", "report", "export", "thresholds", "dispersion", "convergence", "transfer", "refine"),
    *("sweeps", "tasks", "backbones", "weights", "cluster"),
]
PROGRAM = [sys.executable, "-c", "from orchestrator.cli import main; main()"]


def process(*words: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROGRAM, *map(str, words)], capture_output=True, text=True, **options)  # type: ignore[call-overload,no-any-return]  # passes what is given


def test_help_lists_what_works_and_nothing_else() -> None:
    text = apet("--help").stdout
    listed = [line.split()[0] for line in text.partition("Commands:")[2].splitlines() if line.startswith("  ")]
    assert listed[: len(COMMANDS)] == COMMANDS
    assert "compact" not in listed
    for command in COMMANDS:
        assert apet(command, "--help").exit_code == 0


def test_help_answers_at_once_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, time; began = time.perf_counter()\n"
        "from orchestrator.cli import app\n"
        "try: app(['--help'], prog_name='apet')\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'pandas', 'pyarrow', 'duckdb', 'pydantic', 'ray', 'torch', 'altair', 'scipy', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    times = []
    for _ in range(3):
        began = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        times.append(time.perf_counter() - began)
        assert done.stderr.strip() == "[]"
    assert min(times) < 0.5 or os.getloadavg()[0] > 2 * (os.cpu_count() or 1), times


def test_version() -> None:
    from importlib.metadata import version

    assert apet("--version").stdout == f"apet {version('apet')}\n"


def test_nothing_given_shows_how_to_use_it() -> None:
    result = apet()
    assert result.exit_code == 2
    assert "Usage" in result.output
    refused("frobnicate", says=["No such command"])
    refused("plan", "quickstart", "--frobnicate", says=["--frobnicate"])


@pytest.mark.parametrize("words", [("-v", "plan"), ("plan", "-v")])
def test_verbose_stands_before_or_behind_the_command(words: tuple[str, ...], tmp_path: Path) -> None:
    assert "capacity of tiny-bert" in apet(*words, small(tmp_path)).stdout
    assert "capacity of tiny-bert" not in apet(words[-1] if words[-1] != "-v" else "plan", small(tmp_path)).stdout


def test_the_store_comes_from_the_environment(tmp_path: Path) -> None:
    store, _ = stored(tmp_path)
    environment: dict[str, str | None] = {"APET_STORE": store.uri}
    assert "1 completed" in apet("plan", small(tmp_path), env=environment).stdout
    assert json.loads(apet("status", "--json", env=environment).stdout)["total"]["done"] == 1
    refused("status", says=["--store", "APET_STORE"])


def test_status_with_and_without_the_sweep(tmp_path: Path) -> None:
    store, trials = stored(tmp_path)
    total = json.loads(apet("status", small(tmp_path), "--store", store.uri, "--json").stdout)["total"]
    assert (total["trials"], total["missing"], total["failed"]) == (len(trials), len(trials) - 3, 1)
    assert "missing" not in apet("status", "--store", store.uri).stdout


def test_query_formats_agree(tmp_path: Path) -> None:
    import io

    import pandas as pd

    store, _ = stored(tmp_path)
    sql = "select trial_id, state, test_score, attempt from trials order by all"
    csv = pd.read_csv(io.StringIO(apet("query", sql, "--store", store.uri, "--format", "csv").stdout))
    rows = pd.DataFrame(json.loads(apet("query", sql, "--store", store.uri, "--json").stdout))
    parquet = pd.read_parquet(io.BytesIO(apet("query", sql, "--store", store.uri, "--format", "parquet").stdout_bytes))
    direct = pd.read_parquet(Path(store.uri) / "attempts")[csv.columns].sort_values("trial_id", ignore_index=True)
    for frame in (csv, rows, parquet):
        assert frame.astype({"test_score": float}).equals(direct.astype(frame.dtypes.to_dict() | {"test_score": float}))
    table = apet("query", sql, "--store", store.uri).stdout.splitlines()
    assert table[0].split() == ["trial_id", "state", "test_score", "attempt"]
    assert len(table) == 4


def test_maps_are_json_in_csv(tmp_path: Path) -> None:
    store, trials = stored(tmp_path)
    store.append(row(trials[4], operations={"add": 4, "concat": 3, "plug": 3}))
    said = apet(
        "query", "select operations from trials where operations is not null", "--store", store.uri, "--format", "csv"
    )
    assert '"{""add"": 4, ""concat"": 3, ""plug"": 3}"' in said.stdout


def test_thresholds_and_report(tmp_path: Path) -> None:
    store, _ = stored(tmp_path)
    found = json.loads(apet("thresholds", "--store", store.uri, "--json", "--floor", "chance").stdout)
    assert (found["floor"], found["alpha"]) == ("chance", 0.05)
    found = json.loads(apet("convergence", "--store", store.uri, "--json", "--share", "0.8").stdout)
    assert (found["share"], len(found["runs"])) == (0.8, 2)
    assert apet("convergence", "--store", store.uri, "--format", "csv").stdout.startswith("backbone,family,scale,")
    found = json.loads(apet("transfer", "--store", store.uri, "--format", "json").stdout)
    assert found["cells"] == []
    assert found["notes"][0].startswith("no run was scored on other tasks")
    assert "no run was scored on other tasks" in apet("transfer", "--store", store.uri, "--format", "csv").stderr
    page = apet("report", "--store", store.uri, "--out", tmp_path / "page").stdout.strip()
    assert Path(page).read_text().startswith("<!")


class Driver:
    """Takes the place of the driver: notes what it is asked for, gives a summary."""

    def __init__(self, summary: Summary) -> None:
        self.summary = summary
        self.asked: dict[str, object] = {}  # filled by the call

    def __call__(self, sweep: Sweep, store: object, **options: object) -> Summary:
        self.asked = {"sweep": sweep, **options}
        return self.summary


def test_run_hands_its_options_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = Driver(Summary(1, 0, completed=1))
    monkeypatch.setattr(driver, "run", taken)
    words = ("--where", "task = 'rte'", "--limit", 3, "--address", "host:1", "--max-concurrent", 2, "-q")
    result = apet("run", small(tmp_path), "--store", tmp_path / "s", "--set", "training.steps=9", *words)
    assert (result.exit_code, result.stdout) == (0, "")
    assert taken.asked.pop("sweep").trials()[0].training.steps == 9
    assert taken.asked == {
        "where": "task = 'rte'",
        "limit": 3,
        "address": "host:1",
        "max_concurrent": 2,
        "quiet": True,
    }


def test_failed_trials_are_exit_1_and_name_resubmit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, trials = stored(tmp_path / "my studies")
    monkeypatch.setattr(driver, "run", Driver(Summary(12, 3, completed=9)))
    result = apet("run", small(tmp_path), "--store", store.uri)
    assert result.exit_code == 1
    assert f"apet resubmit --store '{store.uri}'" in result.stderr
    store.append(row(trials[1], attempt=1))
    assert apet("run", small(tmp_path), "--store", store.uri).exit_code == 0  # diverged is a result
    monkeypatch.setattr(driver, "run", Driver(Summary(12, 3, completed=1, stopped=2)))
    assert apet("run", small(tmp_path), "--store", store.uri).exit_code == 130


def test_trials_that_failed_by_their_input_are_said_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, trials = stored(tmp_path)
    store.append(row(trials[1], "failed", attempt=1, failure_class="bad_input", error_message="/my/data: no"))
    monkeypatch.setattr(driver, "run", Driver(Summary(12, 3, completed=9)))
    result = apet("run", small(tmp_path), "--store", store.uri)
    assert result.exit_code == 1
    assert "1 failed by their weights or data: `apet show TRIAL` says why; mend them and run the" in result.stderr
    assert f"put back what the trials were given, and `apet resubmit --store {store.uri}` makes new" in result.stderr
    assert "1 failed: `" not in result.stderr
    store.append(row(trials[4], "failed"))
    assert "1 failed: `apet show TRIAL`" in apet("run", small(tmp_path), "--store", store.uri).stderr


def test_resubmit_with_nothing_failed(tmp_path: Path) -> None:
    store, trials = stored(tmp_path)
    store.append(row(trials[1], attempt=1))
    result = apet("resubmit", "--store", store.uri)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no failed trial" in result.stderr


def test_a_finished_store_starts_no_worker(tmp_path: Path) -> None:
    store, trials = stored(tmp_path)
    for trial in (trials[1], *trials[3:]):
        store.append(row(trial, attempt=1))
    before = set(sys.modules)
    result = apet("run", small(tmp_path), "--store", store.uri)
    assert result.exit_code == 0
    assert "ray" not in sys.modules or "ray" in before
    assert "nothing to do" in result.stderr


def test_an_interrupt_is_130_and_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(driver, "run", interrupted)
    result = apet("run", small(tmp_path), "--store", tmp_path / "s")
    assert result.exit_code == 130
    assert len(result.stderr.splitlines()) == 1


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    path = small(tmp_path, SMALL.replace("position_seeds: 2", "position_seeds: 2000"))
    words = [*PROGRAM, "plan", str(path), "--trials"]
    usual = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=usual) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.readline()
        child.stdout.close()
        said = child.stderr.read()
        code = child.wait()
    assert (said, code) == (b"", 128 + signal.SIGPIPE)


def test_an_error_of_ours_keeps_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what a user can act on loses it."""
    monkeypatch.setattr(driver, "run", lambda *_, **__: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        apet("run", small(tmp_path), "--store", tmp_path / "s")


def test_completion_is_offered() -> None:
    environment = {**os.environ, "_APET_COMPLETE": "complete_bash", "COMP_WORDS": "apet re", "COMP_CWORD": "1"}
    done = process(env=environment)
    assert set(done.stdout.split()) == {"refine", "resubmit", "report"}


def test_lines_of_set_ups_say_how_many_trials_they_are_of() -> None:
    """Counts of one method may run in packs of two sizes: two lines of the same name."""
    lines = apet("plan", "count", "--gpu", "a100-40", "--gpus", "4").stdout.split("\n\n")[3].splitlines()
    start, end = lines[0].index(" trials  GPUs"), lines[0].index("  GPUs")
    trials = [int(line[start:end].replace(",", "")) for line in lines[1:]]
    assert sum(trials) == 1836
    assert len({(line[:start], n) for line, n in zip(lines[1:], trials, strict=True)}) == len(trials)


def test_reasons_name_a_method_once_or_with_its_tasks() -> None:
    page = apet("plan", "count", "--gpu", "a10g-24", "--gpus", "1").stdout
    reasons = page.split("the cheapest that fit:\n")[1].split("\nmemory: ")[0].splitlines()
    assert reasons[0].startswith("  bert-small, bert-large, bloom-560m, t5-small: one GPU holds all of it; ")
    seen = [line.split(": one GPU")[0] for line in reasons if line.startswith("  bloom-7b1 (")]
    assert [name.rpartition(" on ")[2] for name in seen] == ["sst2)", "rte, mrpc)"]
