"""Bad input through the real command line: a clear message, exit 2, nothing written, no traceback."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shell import SMALL, apet, refused, small, stored

from trials.store.record import SCHEMA_VERSION

READS_SWEEP = [("plan",), ("run", "--store", "STORE"), ("status", "--store", "STORE")]
LOCAL = SMALL.replace("rte", "rotten_tomatoes")  # from a package: no hub is asked
VERBALIZER = SMALL.replace("[tiny-bert, tiny-t5]", "[quickstart-l3]") + "head: verbalizer\n"
READS_STORE = [("status",), ("resubmit",), ("show", "ab"), ("query", "select 1 from trials")]
READS_STORE += [("thresholds",), ("convergence",), ("transfer",)]


def mixed(operations: str, sites: str = "{}") -> str:
    """The small sweep with other operations and sites of ``apet``."""
    return SMALL.replace("counts: [10", f"operations: {operations}, sites: {sites}, counts: [10")


def entries(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def words(command: tuple[str, ...], sweep: object, store: object) -> list[object]:
    rest: list[object] = [store if word == "STORE" else word for word in command[1:]]
    return [command[0], sweep, *rest]


@pytest.mark.parametrize("command", READS_SWEEP, ids=lambda c: c[0])
def test_a_sweep_that_is_not_there(command: tuple[str, ...], tmp_path: Path) -> None:
    store, _ = stored(tmp_path)
    before = entries(tmp_path)
    refused(*words(command, "quickstrat", store.uri), says=["quickstrat", "did you mean quickstart?", "apet sweeps"])
    refused(*words(command, tmp_path, store.uri), says=[str(tmp_path), "give a YAML file"])
    assert entries(tmp_path) == before


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", ["empty"]),
        ("backbones: [", ["small.yaml:1"]),
        ("- a\n- b\n", ["small.yaml"]),
        (SMALL + "colour: red\n", ["small.yaml:11:1", "colour"]),
        (SMALL + "name: again\n", ["small.yaml:11:1", "name"]),
        (SMALL.replace("tiny-t5", "tiny-t6"), ["small.yaml:3:", "tiny-t6", "did you mean tiny-t5?"]),
        (SMALL.replace("rte", "rtee"), ["small.yaml:4:", "did you mean rte?"]),
        (SMALL.replace("lora", "lorra"), ["small.yaml:7:", "did you mean lora?"]),
        (SMALL.replace("[10, 100]", "[]"), ["small.yaml:8:", "counts"]),
        (SMALL.replace("[10, 100]", "[0]"), ["small.yaml:8:", "counts", "0"]),
        (SMALL.replace("[10, 100]", "[-5]"), ["small.yaml:8:", "-5"]),
        (SMALL.replace("[10, 100]", "[1.5]"), ["small.yaml:8:", "1.5"]),
        (SMALL.replace("[10, 100]", "[99999999]"), ["small.yaml:8:", "99999999", "add", "concat", "plug"]),
        (mixed("{add: 0}"), ["small.yaml:8:", "operations.add", "0"]),
        (mixed("{add: -2}"), ["small.yaml:8:", "operations.add", "-2"]),
        (mixed("{add: 1.5}"), ["small.yaml:8:", "operations.add", "1.5"]),
        (mixed("{add: much}"), ["small.yaml:8:", "operations.add", "much"]),
        (mixed("{}"), ["small.yaml:8:", "operations"]),
        (mixed("{pulg: 1}"), ["small.yaml:8:", "pulg", "did you mean plug?"]),
        (mixed("{add: 1}", "{add: [gate]}"), ["gate", "on bert", "q, k, v, o, up, down"]),
        (mixed("{concat: 1}", "{concat: [norm]}"), ["norm", "concat can't stand there"]),
        (mixed("{plug: 1}", "{plug: [q]}"), ["'q'", "plug can't stand there", "o, down"]),
        (mixed("{add: 1}", "{add: [soft_tokens]}"), ["soft_tokens", "add can't stand there"]),
        (mixed("{add: 1}", "{plug: [o]}"), ["plug", "no weight"]),
        (mixed("{add: 1}").replace("[10, 100]", "[9999]"), ["small.yaml:8:", "9999", "tiny-bert: add 768 scalars"]),
        (SMALL.replace("rank: 2", "rank: 65"), ["small.yaml:7:", "rank 65", "tiny-bert", "64 units"]),
        (VERBALIZER, ["small.yaml:11:", "verbalizer", "quickstart-l3 has no masked-language-model head"]),
        (SMALL + "head: frozen\n", ["small.yaml:11:", "frozen", "tiny-t5 generates"]),
        (SMALL.replace("steps: 4", "steps: four"), ["small.yaml:10:", "steps", "four"]),
        (SMALL.replace("steps: 4, ", ""), ["steps"]),
        (SMALL.replace("[1.0e-3]", "[]"), ["learning_rates"]),
    ],
    ids=lambda value: value.splitlines()[0][:20] if isinstance(value, str) and value else None,
)
def test_a_sweep_that_is_wrong(text: str, says: list[str], tmp_path: Path) -> None:
    path = small(tmp_path, text)
    refused("plan", path, says=says)
    refused("run", path, "--store", tmp_path / "store", says=[])
    assert entries(tmp_path) == ["small.yaml"]


def test_all_errors_come_at_once(tmp_path: Path) -> None:
    text = SMALL.replace("tiny-t5", "tiny-t6").replace("rte", "rtee").replace("steps: 4", "steps: x")
    said = refused("plan", small(tmp_path, text), says=["tiny-t6", "rtee", "steps"])
    assert "3 errors" in said


def test_a_setting_that_leads_nowhere(tmp_path: Path) -> None:
    path = small(tmp_path)
    refused("plan", path, "--set", "training.stepps=3", says=["training.stepps", "steps"])
    refused("plan", path, "--set", "training", says=["KEY=VALUE"])
    refused("run", path, "--store", tmp_path / "s", "--set", "training.steps=x", says=["--set training.steps"])
    assert not (tmp_path / "s").exists()


def test_a_store_that_is_a_file(tmp_path: Path) -> None:
    path, file = small(tmp_path), tmp_path / "file"
    file.write_text("keep me")
    for command in READS_STORE:
        refused(*command, "--store", file, says=[str(file)])
    refused("plan", path, "--store", file, says=[str(file)])
    refused("run", path, "--store", file, says=[str(file)])
    assert file.read_text() == "keep me"


@pytest.mark.parametrize("command", READS_STORE, ids=lambda c: c[0])
def test_a_store_that_is_not_there(command: tuple[str, ...], tmp_path: Path) -> None:
    refused(*command, "--store", tmp_path / "none", says=["no store", "apet run"])
    refused("report", "--store", tmp_path / "none", "--out", tmp_path / "out", says=["no store"])
    refused("query", "select 1", "--store", tmp_path / "none", says=["no store"])
    refused("query", "select 1", "--store", "", says=["no store at ''"])
    spaced = tmp_path / "my store"
    refused(*command, "--store", spaced, says=[f"no store at '{spaced}'", f"apet run SWEEP --store '{spaced}'"])
    assert entries(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_store_without_permission(tmp_path: Path) -> None:
    path = small(tmp_path, LOCAL)
    (tmp_path / "locked").mkdir(mode=0o500)
    refused("run", path, "--store", tmp_path / "locked" / "store", says=["locked"])


def test_a_store_that_cannot_be_made(tmp_path: Path) -> None:
    """Below a file and below /proc nobody can write, root included."""
    path, file = small(tmp_path, LOCAL), tmp_path / "file"
    file.write_text("")
    refused("run", path, "--store", file / "store", says=["store"])
    if Path("/proc/self").exists():
        refused("run", path, "--store", "/proc/store", says=["/proc/store"])
    refused("run", path, "--store", "ftps://host/x", says=["ftps"])


def test_a_store_of_a_newer_schema(tmp_path: Path) -> None:
    store, _ = stored(tmp_path)
    file = next(Path(store.uri, "attempts").rglob("*.parquet"))
    table = pq.read_table(file)
    place = table.column_names.index("schema_version")
    pq.write_table(table.set_column(place, "schema_version", pa.array([SCHEMA_VERSION + 1])), file)
    before = entries(tmp_path)
    for command in READS_STORE:
        refused(*command, "--store", store.uri, says=[f"schema version {SCHEMA_VERSION + 1}", "newer apet"])
    path = small(tmp_path)
    refused("run", path, "--store", store.uri, says=["newer apet"])
    refused("plan", path, "--store", store.uri, says=["newer apet"])
    assert entries(tmp_path) == sorted([*before, "small.yaml"])


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("selec 1", ["SQL"]),
        ("select colour from trials", ["colour"]),
        ("select * from trails", ["trails"]),
        ("drop table trials", ["SQL"]),
        ("create table x as select 1", ["SQL"]),
        ("insert into trials select * from trials", ["SQL"]),
        ("select 1; select 2", ["one SELECT"]),
        ("copy trials to 'out.csv'", ["SQL"]),
        ("select * from read_csv('/etc/passwd')", ["read_csv"]),
        ("select * from '/etc/passwd'", ["/etc/passwd"]),
        ("select * from 'https://example.org/x.parquet'", ["example.org"]),
        ("attach 'x.db'", ["SQL"]),
        ("select getenv('HOME')", ["getenv"]),
        ("", ["SQL"]),
    ],
)
def test_sql_that_is_wrong_writes_or_reads_elsewhere(sql: str, says: list[str], tmp_path: Path) -> None:
    store, _ = stored(tmp_path)
    before = entries(tmp_path)
    refused("query", sql, "--store", store.uri, says=says)
    assert entries(tmp_path) == before


def test_conditions_that_are_wrong(tmp_path: Path) -> None:
    store, _ = stored(tmp_path)
    path = small(tmp_path)
    new = tmp_path / "new"
    refused("run", path, "--store", new, "--where", "test_score > 1", says=["test_score", "columns:"])
    refused("run", path, "--store", new, "--where", "1; drop table trials", says=["condition"])
    refused("resubmit", "--store", store.uri, "--where", "colour = 1", says=["colour"])
    refused("thresholds", "--store", store.uri, "--where", "1 +", says=["condition"])
    refused("thresholds", "--store", store.uri, "--alpha", "2", says=["alpha"])
    refused("thresholds", "--store", store.uri, "--floor", "zero", says=["zero", "majority"])
    refused("convergence", "--store", store.uri, "--share", "90", says=["share 90", "0.9 is 90 %"])
    refused("transfer", "--store", store.uri, "--alpha", "2", says=["alpha"])
    for command in ("thresholds", "convergence", "transfer"):
        refused(command, "--store", store.uri, "--json", "--format", "csv", says=["exclude each other"])
    refused("run", path, "--store", new, "--limit", "0", says=["--limit"])
    refused("query", "select 1", "--store", store.uri, "--format", "xml", says=["xml", "parquet"])
    assert not new.exists()


def test_folders_of_weights_and_data(tmp_path: Path) -> None:
    mine = "[{name: mine, family: bert, model_dir: models/none}]"
    path = small(tmp_path, SMALL.replace("[tiny-bert, tiny-t5]", mine))
    refused("plan", path, says=["small.yaml:3:", "models/none"])
    refused("run", path, "--store", tmp_path / "s", says=["models/none"])
    data = "[{name: rte, data_dir: data/rte}]"
    path = small(tmp_path, SMALL.replace("[rte]", data))
    refused("plan", path, says=["small.yaml:4:", "data/rte"])
    (tmp_path / "data" / "rte").mkdir(parents=True)
    for split in ("train", "validation"):
        line = json.dumps({"sentence1": "a", "label": 0})
        (tmp_path / "data" / "rte" / f"{split}.jsonl").write_text(line + "\n")
    refused("run", path, "--store", tmp_path / "s", says=["sentence2", "sentence1", "label"])
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("name", ["train.csv", "train.parquet", "train.jsonl"])
def test_a_split_without_a_row(name: str, tmp_path: Path) -> None:
    file = tmp_path / "data" / name
    file.parent.mkdir()
    if name == "train.parquet":
        pq.write_table(pa.table({"text": ["a"], "label": [0]})[:0], file)
    else:
        file.write_text("text,label\n" if name == "train.csv" else "")
    path = small(tmp_path, LOCAL.replace("[rotten_tomatoes]", "[{name: rotten_tomatoes, data_dir: data}]"))
    says = ["small.yaml:4:", f"{file} is empty; it must have at least one row"]
    refused("plan", path, says=says)
    refused("run", path, "--store", tmp_path / "s", says=says)


def test_a_hub_that_cannot_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def no_network(*_: object, **__: object) -> None:
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", no_network)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    path = small(tmp_path, SMALL.replace("[tiny-bert, tiny-t5]", "[bert-base]"))
    said = refused(
        *("run", path, "--store", tmp_path / "s"),
        env={"APET_DATA": None},
        says=[
            "bert-base-uncased",
            "nyu-mll/glue",
            "Name or service not known",
            "model_dir: FOLDER",
            "data_dir: FOLDER",
        ],
    )
    assert "2 errors" in said
    assert entries(tmp_path) == ["small.yaml"]
    assert apet("plan", path).exit_code == 0  # planning needs no network
    revision = "86b5e0934494bd15c9632b12f734a8a67f723594"
    (tmp_path / "cache" / "models--bert-base-uncased" / "snapshots" / revision).mkdir(parents=True)
    said = refused("run", path, "--store", tmp_path / "s", env={"APET_DATA": None}, says=["1 error", "nyu-mll/glue"])
    assert "bert-base" not in said


def test_resubmit_refuses_what_is_gone(tmp_path: Path) -> None:
    """The rows of this store name a hub revision that the trials were not given."""
    store, _ = stored(tmp_path)
    before = entries(tmp_path)
    refused("resubmit", "--store", store.uri, says=["hub:nyu-mll/glue@x", "the trial was given"])
    assert entries(tmp_path) == before


def test_a_report_that_cannot_be_written(tmp_path: Path) -> None:
    store, _ = stored(tmp_path)
    file = tmp_path / "file"
    file.write_text("keep me")
    refused("report", "--store", store.uri, "--out", file, says=[str(file)])
    assert file.read_text() == "keep me"


def test_names_that_are_not_built_in() -> None:
    refused("sweeps", "quickstar", says=["did you mean quickstart?"])


@pytest.mark.parametrize("asked", ["gpus: 2", "offload: true"])
def test_resources_that_this_machine_does_not_have(asked: str, tmp_path: Path) -> None:
    """`run` refuses them before anything is written; `plan` says so and still shows what was asked for."""
    path = small(tmp_path, LOCAL + f"resources: {{{asked}}}\n")
    key, value = asked.split(": ")
    refused("run", path, "--store", tmp_path / "store", says=[f"resources.{key} is {value}", "no GPU", "auto"])
    assert entries(tmp_path) == ["small.yaml"]
    (key,) = (
        line for line in apet("plan", path).stdout.splitlines() if "refused by `apet run`: tiny-bert full" in line
    )
    assert "no GPU" in key
    assert json.loads(apet("plan", path, "--json").stdout)["refused"]
    plain = small(tmp_path, LOCAL)
    assert "refused by" not in apet("plan", plain).stdout
    assert json.loads(apet("plan", plain, "--json").stdout)["refused"] == []
