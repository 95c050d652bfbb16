"""submit, resubmit --cluster: what is refused before a cluster is asked, what a head is told, how its end is said."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from shell import SMALL, apet, refused, small

from orchestrator.clusters import submit as module
from orchestrator.clusters import tunnel
from orchestrator.clusters.job import Job
from orchestrator.clusters.submit import Once, check, submit
from trials.errors import ApetError
from trials.sweep.sweep import Sweep

AWS = "cluster_name: study\nprovider: {type: aws, region: eu-west-1}\n"
LOCAL = "cluster_name: study\nprovider: {type: local, head_ip: 10.0.0.1, worker_ips: [10.0.0.2]}\n"
JOB = Job("count", "s3://bucket/study", ("apet", "run"), look=("my count.yaml",))


@pytest.fixture
def aws(tmp_path: Path) -> Path:
    (tmp_path / "cluster.yaml").write_text(AWS)
    return tmp_path / "cluster.yaml"


@pytest.fixture
def local(tmp_path: Path) -> Path:
    (tmp_path / "local.yaml").write_text(LOCAL)
    return tmp_path / "local.yaml"


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Job, str, bool]]:
    """What a cluster would have been asked to do; every job ends with 1."""
    found: list[tuple[Job, str, bool]] = []

    def submit(job: Job, cluster: str, *, follow: bool, say: object, write: object) -> int:
        found.append((job, cluster, follow))
        return 1

    monkeypatch.setattr(module, "submit", submit)
    return found


def test_what_a_head_is_told(tmp_path: Path, aws: Path, handed: list[tuple[Job, str, bool]]) -> None:
    words = ("--where", "backbone = 'tiny-t5'", "--limit", "3", "--set", "training.steps=5", "--max-concurrent", "2")
    given = ("submit", small(tmp_path), "--cluster", aws, "--store", "s3://bucket/study", *words)
    assert apet(*given, "--max-hours", "2", "--down-when-done", "--detach", "-q").exit_code == 1
    ((job, cluster, follow),) = handed
    assert job.command == (
        *("apet", "run", "small.yaml", "--store", "s3://bucket/study", "--where", "backbone = 'tiny-t5'"),
        *("--limit", "3", "--max-concurrent", "2", "--address", "auto", "--quiet"),
    )
    assert (job.name, job.max_hours, job.down, follow, cluster) == ("small", 2.0, True, False, str(aws))
    assert job.look == (str(tmp_path / "small.yaml"), "--set", "training.steps=5"), "the same trials"
    sent = Sweep.parse(job.files["small.yaml"], folder=Path("/"))
    assert sent.trials() == Sweep.parse(SMALL).with_(["training.steps=5"]).trials()


def test_resubmit_on_a_cluster(tmp_path: Path, local: Path, handed: list[tuple[Job, str, bool]]) -> None:
    again = ("resubmit", "--store", "/shared/store", "--cluster", local, "--set", "resources.gpus=0")
    apet(*again, "--sweep", small(tmp_path), "--data", "rte=/shared/rte")
    ((job, _, follow),) = handed
    assert job.command == (
        *("apet", "resubmit", "--store", "/shared/store", "--address", "auto", "--sweep", "small.yaml"),
        *("--data", "rte=/shared/rte", "--set", "resources.gpus=0"),
    )
    assert (job.name, follow, list(job.files)) == ("resubmit", True, ["small.yaml"])
    assert job.look == (str(tmp_path / "small.yaml"),)


def test_what_a_rented_machine_does_not_see_is_refused(tmp_path: Path, aws: Path, local: Path) -> None:
    bucket = ("--store", "s3://bucket/study")
    folder = SMALL.replace("tasks: [rte]", "tasks: [{name: rte, data_dir: mine}]")
    (tmp_path / "mine").mkdir()
    for split in ("train", "validation", "test"):
        (tmp_path / "mine" / f"{split}.csv").write_text("sentence1,sentence2,label\na,b,0\nc,d,1\n")
    own = small(tmp_path, folder)
    says = [f"{tmp_path / 'mine'} (data_dir)", "don't see"]
    refused("submit", own, "--cluster", aws, *bucket, says=says)
    says = ["/m/rte (--data)", "don't see"]
    refused("resubmit", "--cluster", aws, *bucket, "--data", "rte=/m/rte", says=says)
    with pytest.raises(ApetError, match="share no disk"):
        check(Job("a", "/mnt/store", ()), str(aws), {})
    check(Job("a", "/mnt/store", ()), str(local), {"data_dir": ["/mnt/data"]})
    with pytest.raises(ApetError, match="whole path"):
        check(Job("a", "runs/mine", ()), str(local), {})
    check(Job("a", "/mnt/store", ()), "http://localhost:8265", {"data_dir": ["/mnt/data"]})


def test_wrong_options_are_refused_before_a_cluster_is_asked(tmp_path: Path, aws: Path) -> None:
    given = ("submit", small(tmp_path), "--store", "s3://bucket/study")
    refused(*given, "--cluster", tmp_path / "none.yaml", says=[f"no cluster file at {tmp_path / 'none.yaml'}"])
    refused(*given, "--cluster", aws, "--max-hours", "0", says=["--max-hours 0: more than 0"])
    refused(*given, "--cluster", aws, "--where", "backbone = 'x'", says=["backbone = 'x'"])
    again = ("resubmit", "--store", "s3://bucket/study")
    refused(*again, "--max-hours", "3", "--detach", says=["--max-hours and --detach", "--cluster cluster.yaml"])
    refused(*again, "--cluster", aws, "--address", "auto", says=["--cluster and --address exclude each other"])


class Cluster:
    """Ray's jobs as `submit` sees them."""

    def __init__(self, end: Any, *lost: str, open: Any = ()) -> None:
        self.end, self.lost, self.started, self._open = end, list(lost), list[Job](), open

    def __call__(self, address: str, name: str) -> Cluster:
        return self

    def open(self) -> Any:
        return self._open

    def submit(self, job: Job) -> str:
        self.started.append(job)
        return "apet-count-1"

    def follow(self, job_id: str, write: Any) -> Any:
        from orchestrator.driver.ray.jobs import Lost

        write("one\n")
        if self.lost:
            raise Lost(self.lost.pop())
        write("two\n")
        if isinstance(self.end, BaseException):
            raise self.end
        return self.end


def run(monkeypatch: pytest.MonkeyPatch, cluster: Cluster, job: Job = JOB, follow: bool = True) -> tuple[int, str, str]:
    """submit's exit code, what it said, and the job's log as it was shown."""
    from orchestrator.driver.ray import jobs

    monkeypatch.setattr(jobs, "Jobs", cluster)
    monkeypatch.setattr(module, "AGAIN_S", 0.0)
    said, log = list[str](), list[str]()
    code = submit(job, "http://head:8265", follow=follow, say=said.append, write=log.append)
    return code, "\n".join(said), "".join(log)


def end(status: str, code: int | None = None, message: str = "") -> Any:
    return SimpleNamespace(status=status, code=code, message=message)


@pytest.mark.parametrize(
    ("how", "code"),
    [
        (end("SUCCEEDED", 0), 0),
        (end("FAILED", 1), 1),
        (end("FAILED", 2), 2),
        (end("FAILED", -9), 137),
        (end("FAILED", 124), 143),
        (end("STOPPED"), 143),
    ],
)
def test_the_exit_code_is_the_jobs(monkeypatch: pytest.MonkeyPatch, how: Any, code: int) -> None:
    found, said, log = run(monkeypatch, Cluster(how))
    assert (found, log) == (code, "one\ntwo\n")
    assert ("was stopped" in said) is (code == 143)
    for advice in (
        "apet status 'my count.yaml' --store s3://bucket/study --watch",
        "ray job stop apet-count-1 --address http://head",
    ):
        assert advice in said


def test_a_job_that_never_began_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ApetError, match="no space left"):
        run(monkeypatch, Cluster(end("FAILED", message="no space left")))


def test_a_lost_connection_is_made_again_and_the_log_shown_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(end("SUCCEEDED", 0), "the net is down", "it still is")
    code, said, log = run(monkeypatch, cluster)
    assert (code, log, len(cluster.started)) == (0, "one\ntwo\n", 1)
    assert "the job goes on without us" in said


def test_ctrl_c_ends_the_following_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    code, said, _ = run(monkeypatch, Cluster(KeyboardInterrupt()))
    assert code == 130
    assert said.count("ray job stop apet-count-1") == 2
    assert "no longer following" in said


def test_without_following(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, Cluster(end("FAILED", 1)), follow=False)[::2] == (0, "")


def test_a_job_that_runs_is_followed_if_it_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    other = SimpleNamespace(job_id="apet-count-0", purpose=JOB.purpose, age_s=4000.0)
    cluster = Cluster(end("SUCCEEDED", 0), open=[SimpleNamespace(job_id="x", purpose={}, age_s=1.0), other])
    code, said, _ = run(monkeypatch, cluster)
    assert (code, cluster.started) == (0, [])
    assert "runs for s3://bucket/study already: job apet-count-0, for 67 min" in said
    with pytest.raises(ApetError, match=r"already \(job apet-count-0.*ray job stop apet-count-0"):
        run(monkeypatch, cluster, Job("count", "s3://bucket/study", ("apet", "run", "--limit", "1")))
    assert not cluster.started
    run(monkeypatch, cluster, Job("other", "s3://bucket/study", ("apet", "run")))
    assert len(cluster.started) == 1


def test_a_text_that_begins_anew_is_handed_on_once() -> None:
    found: list[str] = []
    once = Once(found.append)
    for part in ("ab", "cd"):
        once(part)
    once.again()
    for part in ("abc", "de", "f"):
        once(part)
    assert "".join(found) == "abcdef"


def test_a_head_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "print('It failed. The exception is: Head node of cluster (study) not found!'); exit(1)"
    monkeypatch.setattr(tunnel, "LAUNCHER", (sys.executable, "-c", said))
    says = r"can't be reached: Head node of cluster \(study\) not found!.*\n.*ray up"
    with pytest.raises(ApetError, match=says), tunnel.dashboard("cluster.yaml"):
        raise AssertionError


def test_the_way_to_a_head_is_open_inside_with_only(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    code = "import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[-1]))); time.sleep(60)"
    monkeypatch.setattr(tunnel, "LAUNCHER", (sys.executable, "-c", code))
    with tunnel.dashboard("cluster.yaml") as address:
        port = int(address.rpartition(":")[2])
        socket.create_connection(("127.0.0.1", port), 5).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 5)
