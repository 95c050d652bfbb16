"""What is built in, as the command line lists it."""

from __future__ import annotations

import json
from pathlib import Path

from shell import apet

from orchestrator import listing
from trials import tasks
from trials.backbones import BACKBONES
from trials.sweep import Sweep, builtin_names

PAPER = {  # LoRA, Adapter, Prompt, BitFit of Su et al. 2023, table 2, where they follow from the shapes
    "bert-small": (65_536, 200_896, 51_200, 23_040),
    "bert-base": (294_912, 903_744, 76_800, 102_144),
    "bert-large": (786_432, 2_409_600, 102_400, 271_360),
    "bloom-7b1": (3_932_160, 12_043_680, 409_600, 1_359_872),
    "bloom-560m": (786_432, 2_409_600, 102_400, 272_384),
}


def test_sweeps_are_listed_printed_and_valid(tmp_path: Path) -> None:
    rows = json.loads(apet("sweeps", "--json").stdout)
    assert [row["name"] for row in rows] == list(builtin_names())
    assert all(row["about"] and row["trials"] for row in rows)
    text = apet("sweeps", "quickstart").stdout
    (tmp_path / "mine.yaml").write_text(text)
    assert len(Sweep.load(tmp_path / "mine.yaml").trials()) == rows[0]["trials"]


def test_the_schema_knows_the_keys_of_a_sweep_file() -> None:
    schema = json.loads(apet("sweeps", "--schema").stdout)
    assert {"backbones", "tasks", "methods", "blocks", "training"} <= schema["properties"].keys()


def test_tasks_say_where_their_data_is(tmp_path: Path) -> None:
    rows = json.loads(apet("tasks", "--json", env={"APET_DATA": None}).stdout)
    assert [row["task"] for row in rows] == list(tasks.names())
    assert {row["task"]: row["found"] for row in rows}["rte"].startswith("hub:nyu-mll/glue@")
    folder = tmp_path / "rte"
    folder.mkdir()
    line = json.dumps({"sentence1": "a", "sentence2": "b", "label": 0})
    for split in ("train", "validation"):
        (folder / f"{split}.jsonl").write_text(line + "\n")
    rows = json.loads(apet("tasks", "--json", env={"APET_DATA": str(tmp_path)}).stdout)
    assert {row["task"]: row["found"] for row in rows}["rte"] == f"folder:{folder}"


def test_data_that_cannot_be_used_is_said_in_its_row(tmp_path: Path) -> None:
    (tmp_path / "rte").mkdir()
    result = apet("tasks", "--json", env={"APET_DATA": str(tmp_path)})
    assert result.exit_code == 0
    found = {row["task"]: row["found"] for row in json.loads(result.stdout)}["rte"]
    assert found.startswith("unusable: ")


def test_backbones_have_their_published_sizes() -> None:
    rows = {row["backbone"]: row for row in json.loads(apet("backbones", "--json").stdout)}
    assert rows.keys() == BACKBONES.keys()
    assert rows["t5-xxl"]["parameters"] == 11_135_332_352
    assert rows["bloom-7b1"]["parameters"] == 7_069_016_064


def test_counts_are_the_studys_and_follow_the_sizes() -> None:
    rows = {row["backbone"]: row for row in json.loads(apet("backbones", "--counts", "--json").stdout)}
    for name, expected in PAPER.items():
        assert tuple(rows[name][method] for method in ("lora", "adapter", "prompt", "bitfit")) == expected
    assert rows["bert-base"]["add holds"] == 73_728
    half = {row["backbone"]: row["lora"] for row in listing.counts(lora={"rank": 4})}
    assert half["bert-base"] == PAPER["bert-base"][0] // 2


def test_tables_show_all_rows() -> None:
    lines = apet("backbones", "--counts").stdout.splitlines()
    assert len(lines) == 1 + len(BACKBONES)
    assert "786,432" in next(line for line in lines if line.startswith("bloom-560m"))
