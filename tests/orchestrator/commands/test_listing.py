"""What is built in, as the command line lists it."""

from __future__ import annotations

import json
from pathlib import Path

from shell import apet

from orchestrator import listing
from trials import tasks
from trials.backbones import BACKBONES
from trials.sweep.sweep import Sweep, builtin_names

PAPER = {  # LoRA, Adapter, Prompt, BitFit of Su et al. 2023, table 2, where they follow from the shapes
    "bert-small": (65_536, 200_896, 51_200, 23_040),
    "bert-base": (294_912, 903_744, 76_800, 102_144),
    "bert-large": (786_432, 2_409_600, 102_400, 271_360),
    "bloom-7b1": (3_932_160, 12_043_680, 409_600, 1_359_872),
    "bloom-1b1": (1_179_648, None, 153_600, 408_576),
    "bloom-560m": (786_432, 2_409_600, 102_400, 272_384),
    "t5-small": (229_376, 803_584, 51_200, None),
    "t5-base": (589_824, 1_807_488, 76_800, None),
    "t5-xxl": (6_291_456, 19_269_888, 409_600, None),
}
OURS = {  # where they don't
    ("bloom-1b1", "adapter"): (3_613_824, 2_409_600),
    ("t5-small", "bitfit"): (102_400, 121_216),
    ("t5-base", "bitfit"): (274_944, 270_208),
    ("t5-xxl", "bitfit"): (2_859_008, 2_444_644),
}


def test_sweeps_are_listed_printed_and_valid(tmp_path: Path) -> None:
    rows = json.loads(apet("sweeps", "--json").stdout)
    assert [row["name"] for row in rows] == list(builtin_names())
    assert all(row["about"] and row["trials"] for row in rows)
    text = apet("sweeps", "quickstart").stdout
    (tmp_path / "mine.yaml").write_text(text)
    listed = {row["name"]: row["trials"] for row in rows}
    assert len(Sweep.load(tmp_path / "mine.yaml").trials()) == listed["quickstart"]


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


def test_tasks_count_the_rows_that_stand_in_train_too(tmp_path: Path) -> None:
    (tmp_path / "nq_open").mkdir()
    for split, questions in (("train", "abc"), ("validation", "Ax"), ("test", "b!")):
        rows = [json.dumps({"question": f"who is {q}", "answer": ["x"]}) for q in questions]
        (tmp_path / "nq_open" / f"{split}.jsonl").write_text("\n".join(rows) + "\n")
    result = apet("tasks", "--overlaps", "--json", env={"APET_DATA": str(tmp_path)})
    found = {row["task"]: row["overlaps"] for row in json.loads(result.stdout)}
    assert found["nq_open"] == 2  # A and b
    assert found["rte"] is None


def test_backbones_have_their_published_sizes() -> None:
    rows = {row["backbone"]: row for row in json.loads(apet("backbones", "--json").stdout)}
    assert rows.keys() == BACKBONES.keys()
    assert rows["t5-xxl"]["parameters"] == 11_135_332_352
    assert rows["bloom-7b1"]["parameters"] == 7_069_016_064


def test_counts_are_the_studys_and_say_where_the_authors_differ() -> None:
    rows = {row["backbone"]: row for row in json.loads(apet("backbones", "--counts", "--json").stdout)}
    differing = {(name, method) for name, row in rows.items() for method in row["differs"]}
    assert differing == OURS.keys()
    for name, counts in PAPER.items():
        for method, count in zip(("lora", "adapter", "prompt", "bitfit"), counts, strict=True):
            if count is None:
                ours, theirs = OURS[name, method]
                assert (rows[name][method], rows[name]["differs"][method]["authors"]) == (ours, theirs)
            else:
                assert rows[name][method] == count
    assert rows["bert-base"]["add holds"] == 73_728


def test_counts_follow_rank_and_bottleneck() -> None:
    rows = {row["backbone"]: row for row in listing.counts(lora={"rank": 4}, adapter={"bottleneck": 48})}
    default = {row["backbone"]: row for row in listing.counts()}
    for name, ref in BACKBONES.items():
        places = 2 * (ref.shape.blocks + ref.shape.decoder_blocks)
        d = ref.shape.d_model
        assert 2 * rows[name]["lora"] == default[name]["lora"]
        assert default[name]["adapter"] == places * (24 * (2 * d + 1) + d)
        assert rows[name]["adapter"] == places * (48 * (2 * d + 1) + d)
        assert rows[name]["bitfit"] == default[name]["bitfit"]
    assert rows["bloom-1b1"]["differs"] == {}  # another size isn't the authors'


def test_tables_show_all_rows() -> None:
    result = apet("backbones", "--counts")
    lines = result.stdout.splitlines()
    assert len(lines) == 1 + len(BACKBONES)
    assert next(line for line in lines if line.startswith("t5-xxl")).endswith("bitfit 2,444,644")
    assert "bloom-1b1 adapter: the authors' is a copy of bloom-560m's" in result.stderr
    assert "t5-small bitfit, t5-base bitfit, t5-xxl bitfit: T5 has no biases" in result.stderr
    assert "786,432" in next(line for line in lines if line.startswith("bloom-560m"))
