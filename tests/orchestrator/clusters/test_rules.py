"""Every rule says something of a file that breaks it, in the right line, and nothing of a good one."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cluster_files import GOOD, case, good

from orchestrator.clusters.check import findings
from orchestrator.clusters.finding import ERROR, WARNING, Finding
from orchestrator.clusters.holdings import Holding
from orchestrator.clusters.rules import rules

START = "export RAY_AUTH_MODE=token; ray start"
HOLDING = Holding("t5-xxl", "full", 3, "small", "1 GPU", 1.0, 1, 2.0, 0.5, (), 11_000_000_000)


@dataclass(frozen=True)
class Break:
    """A change that trips a rule: the text ``old`` of a good file becomes ``new``; all that is said is at ``at``."""

    rule: str
    old: str
    new: str
    at: str
    level: str = ERROR
    of: str = "aws"
    more: dict[str, object] = field(default_factory=dict)


WARNED = {"level": WARNING}
BREAKS = [
    Break("text.twice", "max_workers: 8", "max_workers: 8\nmax_workers: 9", "max_workers: 9"),
    Break("text.keys", "resources: {CPU: 0}", "resources: {CPU: 0, on: 1}", "resources: {CPU: 0, on"),
    Break("text.comments", "pip install -q apet", "pip install -q apet # all of it", "- pip", **WARNED),
    Break("text.comments", "pip install -q apet", "echo 'a # b'", "- echo"),
    Break("schema.ray", "idle_timeout_minutes", "idle_timeout_minuts", "idle_timeout_minuts"),
    Break("schema.ray", "resources: {}\n    max_workers: 6", "resource: {}\n    max_workers: 6", "resource: {}"),
    Break("schema.ray", "    resources: {}\n    max_workers: 6", "    max_workers: 6", "  small:"),
    Break("schema.ray", "max_workers: 6", "max_workers: six", "max_workers: six"),
    Break("schema.ray", "cluster_name: study\n", "", "max_workers: 8"),
    Break("schema.leftovers", "max_workers: 8", "max_workers: 8\nmin_workers: 1", "min_workers: 1"),
    Break("schema.provider_keys", "cache_stopped_nodes", "cache_stoped_nodes", "cache_stoped_nodes"),
    Break("schema.provider", "type: aws", "type: awss", "type: awss"),
    Break("schema.provider", "type: aws", "type: azure", "type: azure", **WARNED),
    Break("size.types", "head_node_type: head", "head_node_type: heat", "head_node_type: heat"),
    Break("size.types", "head_node_type: head\n", "", "cluster_name"),
    Break("size.types", "available_node_types:", "metadata:", "cluster_name"),
    Break("size.limit", "max_workers: 8\n", "", "cluster_name", **WARNED),
    Break("size.limit", "max_workers: 8", "max_workers: 0", "max_workers: 0"),
    Break("size.limit", "max_workers: 6", "max_workers: 9\n    min_workers: 9", "max_workers: 8"),
    Break("size.idle_types", "max_workers: 2", "max_workers: 0", "max_workers: 0", **WARNED),
    Break("size.minimum", "max_workers: 2", "max_workers: 2\n    min_workers: 1", "min_workers: 1", **WARNED),
    Break("size.head", "{CPU: 0}", "{}", "resources: {}", **WARNED),
    Break("size.head", "max_workers: 0", "max_workers: 1", "max_workers: 1", **WARNED),
    Break("size.head", "resources: {}", "resources: {CPU: 0}", "CPU: 0", of="one"),
    Break("size.idle", "idle_timeout_minutes: 5\n", "", "cluster_name", **WARNED),
    Break("size.promises", "resources: {}\n    max_workers: 6", "resources: {GPU: 4}\n    max_workers: 6", "GPU: 4"),
    Break("labels.name", "apet-node-type: small, ", "", "labels: {apet-price: \"0.5\"}", **WARNED),
    Break("labels.name", "apet-node-type: small", "apet-node-type: smal", "apet-node-type: smal,", **WARNED),
    Break("labels.price", ', apet-price: "0.5"', "", "labels: {apet-node-type: small}", **WARNED),
    Break("labels.price", 'apet-price: "0.5"', "apet-price: cheap", "apet-price: cheap"),
    Break("labels.values", "apet-node-type: small", "zone: a b, apet-node-type: small", "zone: a b"),
    Break("commands.setup", "setup_commands:", "metadata:", "cluster_name", of="gcp"),
    Break("commands.setup", "pip install -q apet", "pip install s3.com/ray-wheels/latest/ray.whl", "ray-wheels"),
    Break("commands.start", "head_start_ray_commands", "rsync_exclude", "cluster_name"),
    Break("commands.start", " --head", "", "head_start_ray_commands"),
    Break("commands.start", "--address=$RAY_HEAD_IP:6379", "", "worker_start_ray_commands"),
    Break("commands.autoscaling", " --autoscaling-config=~/ray_bootstrap_config.yaml", "", "--head"),
    Break("commands.dashboard", "--port=6379", "--dashboard-host=0.0.0.0", "--dashboard-host"),
    Break("commands.dashboard", "--port=6379", "--dashboard-host '0.0.0.0'", "--dashboard-host"),
    Break("commands.dashboard", "head_start_ray_commands", "rsync_exclude", "cluster_name"),
    Break("commands.autoscaler", "", "", "type: local", WARNING, "local", {"environ": {"RAY_AUTH_MODE": "token"}}),
    Break("mounts.sources", "file_mounts:", "file_mounts:\n  ~/tree: ./nothing", "./nothing"),
    Break("mounts.sources", "file_mounts:", "file_mounts:\n  ~/tree: {}", "~/tree"),
    Break("mounts.weight", "file_mounts:", "file_mounts:\n  ~/tree: .", "~/tree", **WARNED),
    Break("mounts.key", "ssh_user: ubuntu", "ssh_user: ubuntu\n  ssh_private_key: ~/no.pem", "~/no.pem"),
    Break("token.mount", "file_mounts:\n  ~/.ray/auth_token: ~/.ray/auth_token\n", "", "cluster_name", of="gcp"),
    Break("token.mode", f"{START} --head", "ray start --head", "ray start --head"),
    Break("token.mode", f"{START} --address", "ray start --address", "ray start --address"),
    Break("token.here", "", "", "cluster_name", WARNING, more={"environ": {}}),
    Break("token.here", "", "", "auth_token", WARNING, more={"token": False}),
    Break("placeholders.filled", "s3://study/", "s3://BUCKET/", "s3://BUCKET"),
    Break("placeholders.filled", "Name: study-nodes", "Name: <your role>", "<your role>"),
    Break("placeholders.filled", "[sg-0a1b2c3d4e5f60718]", "[sg-YOURS]", "sg-YOURS"),
    Break("placeholders.filled", "ssh_user: study", "ssh_user: you", "ssh_user", of="local"),
    Break("placeholders.filled", "study-123456\n", "my-project\n", "my-project", of="gcp"),
    Break("network.groups", "      SecurityGroupIds: [sg-0a1b2c3d4e5f60718]\n", "", "node_config"),
    Break("network.rules", "provider:", "provider:\n" + """\
  security_group:
    GroupName: study
    IpPermissions:
      - {FromPort: 8265, ToPort: 8265, IpProtocol: tcp, IpRanges: [{CidrIp: 0.0.0.0/0}]}""", "FromPort: 8265"),
    Break("amazon.parameters", "VolumeSize: 100", "VolumSize: 100", "VolumSize"),
    Break("amazon.parameters", "VolumeSize: 100", "VolumeSize: big", "VolumeSize: big"),
    Break("amazon.parameters", "MarketType: spot", "MarketType: spott", "MarketType: spott", **WARNED),
    Break("amazon.instance", "InstanceType: m6i.large", "InstanceType: m6i.larg", "m6i.larg", **WARNED),
    Break("amazon.instance", "      InstanceType: g5.2xlarge\n", "", "node_config"),
    Break("amazon.instance", "InstanceType: g5.2xlarge", "InstanceType: g7.2xlarge", "g7.2xlarge", **WARNED),
    Break("amazon.image", "      ImageId: ami-0a1b2c3d4e5f60718\n", "", "node_config"),
    Break("amazon.image", "ImageId: ami-0a1b2c3d4e5f60718", "ImageId: ami-0123456789abcdef0", "ami-0123456789abcdef0"),
    Break("amazon.image", "ImageId: ami-0a1b2c3d4e5f60718", "ImageId: latest_dlami", "latest_dlami"),
    Break("amazon.role", "      IamInstanceProfile: {Name: study-nodes}\n", "", "node_config"),
    Break("amazon.stopped", "  cache_stopped_nodes: false\n", "", "provider:"),
    Break("amazon.zones", "us-east-1a,us-east-1b", "us-east-1a", "us-east-1a", **WARNED),
    Break("amazon.zones", "us-east-1a,us-east-1b", "us-east-1a,eu-west-1b", "eu-west-1b"),
    Break("amazon.zones", "  region: us-east-1\n", "", "provider"),
    Break("amazon.disk", "VolumeSize: 100", "DeleteOnTermination: false", "DeleteOnTermination", **WARNED),
    Break("amazon.login", "      KeyName: mine\n", "", "node_config", of="one"),
    Break("google.project", "project_id: study-123456", "project_id: null", "project_id", of="gcp"),
    Break("google.zone", "us-west1-b", "us-east1-b", "us-east1-b", of="gcp"),
    Break("google.machine", "      machineType: g2-standard-8\n", "", "node_config", of="gcp"),
    Break("google.machine", "g2-standard-8", "z9-standard-8", "z9-standard-8", WARNING, "gcp"),
    Break("google.machine", "sourceImage: projects", "image: projects", "node_config", of="gcp"),
    Break("google.resources", "{CPU: 8, GPU: 1}", "{GPU: 1}", "{GPU: 1}", of="gcp"),
    Break("google.resources", "{CPU: 8, GPU: 1}", "{CPU: 8}", "{CPU: 8}", of="gcp"),
    Break("google.maintenance", ", onHostMaintenance: TERMINATE", "", "scheduling", of="gcp"),
    Break("google.role", "serviceAccounts", "labels", "node_config", of="gcp"),
    Break("onpremises.addresses", "  head_ip: 10.0.0.1\n", "", "provider", of="local"),
    Break("onpremises.addresses", "[10.0.0.2, 10.0.0.3]", "[10.0.0.2, 10.0.0.1]", "10.0.0.1]", of="local"),
    Break("onpremises.types", "auth:", "head_node_type: x\nauth:", "head_node_type", of="local"),
    Break("onpremises.all_join", "auth:", "max_workers: 1\nauth:", "max_workers", WARNING, "local"),
    Break("onpremises.login", "  ssh_user: study\n", "  ssh_public_key: ~/k.pub\n", "auth:", of="local"),
    Break("storage.shared", "", "", "metadata", of="local", more={"store": "/data/study"}),
    Break("storage.shared", "", "", "cluster_name", more={"store": "runs/study"}),
    Break("storage.bucket", "", "", "cluster_name", more={"store": "s3://BUCKET/study"}),
    Break("storage.bucket", "", "", "cluster_name", more={"store": "s4://study/study"}),
    Break("storage.keys", "", "", "type: local", WARNING, "local", {"store": "s3://study/one"}),
    Break("storage.named", "", "", "s3://study/clusters", WARNING, more={"store": "s3://other/one"}),
    Break("sweep.known", "", "", "provider", WARNING, "local", {"sweep": "count"}),
    Break(
        "sweep.holds",
        "",
        "",
        "available_node_types",
        more={"holdings": (Holding("t5-xxl", "full", 3, "", "", 0, 1, 0, 0, (), 0, "it takes more"),)},
    ),
    Break("sweep.disk", "VolumeSize: 200", "VolumeSize: 50", "VolumeSize: 50", WARNING, more={"holdings": (HOLDING,)}),
]  # fmt: skip


def found(folder: Path, text: str, **more: object) -> list[Finding]:
    for name in (".venv", ".git"):  # a clone, with what no node needs
        (folder / name).mkdir(exist_ok=True)
    (folder / "key.pem").write_text("secret")
    return list(findings(case(folder, text, **more)))  # type: ignore[arg-type]


@pytest.mark.parametrize("one", BREAKS, ids=[f"{b.rule}-{i}" for i, b in enumerate(BREAKS)])
def test_what_breaks_a_rule_is_said_where_it_is(one: Break, tmp_path: Path) -> None:
    text = good(one.of)
    assert one.old in text
    broken = text.replace(one.old, one.new, 1) if one.old else text
    said = [f for f in found(tmp_path, broken, **one.more) if f.rule == one.rule and f.level == one.level]
    assert said, f"nothing said by {one.rule}"
    assert all(f.problem and f.mend for f in said)
    lines = broken.splitlines()
    assert any(one.at in lines[f.line - 1] for f in said), [(f, lines[f.line - 1]) for f in said]


def test_every_rule_has_a_file_that_breaks_it() -> None:
    assert {one.rule for one in BREAKS} == set(rules())


def test_a_security_group_that_ray_may_make_is_a_warning(tmp_path: Path) -> None:
    """Whether it is there, with rules of its own, nobody can tell from the file."""
    text = good("aws").replace("provider:", "provider:\n  security_group: {GroupName: mine}")
    text = text.replace("      SecurityGroupIds: [sg-0a1b2c3d4e5f60718]\n", "")
    (said,) = found(tmp_path, text)
    assert (said.rule, said.level, said.line) == ("network.groups", WARNING, 5)
    assert "security group mine" in said.problem


def test_what_an_anchor_gives_to_several_node_types_is_said_once(tmp_path: Path) -> None:
    text = (
        good("aws").replace("metadata", "").replace("auth:", "metadata: {worker: &disk [{Ebs: {VolumSize: 9}}]}\nauth:")
    )
    start = "      BlockDeviceMappings:\n        - DeviceName: /dev/sda1\n"
    for size in (200, 400):
        old = f"{start}          Ebs: {{VolumeSize: {size}, VolumeType: gp3}}\n"
        assert old in text
        text = text.replace(old, "      BlockDeviceMappings: *disk\n")
    (said,) = found(tmp_path, text)
    assert said.problem.startswith("small, large: BlockDeviceMappings.0.Ebs.VolumSize is no parameter")


def test_a_folder_is_shared_where_something_says_so(tmp_path: Path) -> None:
    """Declared, beside the shelf of node.sh, or mounted by a command."""
    shelf = "- echo /mnt/study/clusters/apet >~/apet-shelf\n  - pip install"
    nfs = "- sudo mount -t nfs4 server:/ /mnt/study\n  - pip install"
    bare = good("local").replace("metadata:\n  apet-shared: [/mnt/study]\n", "")
    rules_of = [
        {one.rule for one in found(tmp_path, text, store="/mnt/study/one")}
        for text in (good("local"), bare.replace("- pip install", shelf), bare.replace("- pip install", nfs), bare)
    ]
    assert rules_of == [set(), set(), set(), {"storage.shared"}]


@pytest.mark.parametrize("name", GOOD)
def test_nothing_is_said_of_a_good_file(name: str, tmp_path: Path) -> None:
    store = {"aws": "s3://study/x", "one": "s3://study/x", "gcp": "gs://study/x", "local": "/mnt/study/x"}[name]
    assert found(tmp_path, good(name), store=store) == []


def test_every_rule_says_what_holds_in_a_good_file() -> None:
    assert all(rule.__doc__ for rule in rules().values())
