"""A wrong sweep file: every error at once, each with its place, the value, the rule and the next step."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from folders_for_tests import write_model, write_rows
from sweeps_for_tests import GOOD, changed, only, problems

from trials.errors import ApetError
from trials.sweep.sweep import Sweep


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("APET_DATA", raising=False)


def apet(**keys: Any) -> list[dict[str, Any]]:
    return [{"method": "apet", "counts": [100], **keys}]


def test_all_errors_come_at_once_in_the_order_of_the_file() -> None:
    text = """backbones: [tiny-brt]
tasks: [rtee, sst2]
methods:
  - {method: lora, rnk: 4}
  - {method: apet, counts: [0, 9999999999]}
  - apt
learning_rates: [0]
hed: auto
training: {steps: -1, batch_size: 1.5}
"""
    assert [":".join(problem.split(": ")[:2]) for problem in problems(text)] == [
        "f.yaml:1:13:backbones.0",
        "f.yaml:2:9:tasks.0",
        "f.yaml:4:20:methods.0.rnk",
        "f.yaml:5:29:methods.1.counts.0",
        "f.yaml:6:5:methods.2",
        "f.yaml:7:18:learning_rates.0",
        "f.yaml:8:1:hed",
        "f.yaml:9:19:training.steps",
        "f.yaml:9:35:training.batch_size",
    ]


def test_resources_are_judged_by_every_blocks_batch_and_beside_all_other_errors() -> None:
    text = """backbones: [tiny-brt]
tasks: [rte]
methods: [lora]
learning_rates: [0.001]
training: {steps: 4, batch_size: 64}
resources: {gpus: 0, ranks: 16, offload: true, zero_stage: 1}
blocks:
  - {}
  - training: {batch_size: 8}
"""
    found = problems(text)
    assert [":".join(problem.split(": ")[:2]) for problem in found] == [
        "f.yaml:1:13:backbones.0",
        "f.yaml:6:29:resources.ranks",
        "f.yaml:6:42:resources.offload",
        "f.yaml:6:42:resources.offload",
    ]
    assert "16, but training.batch_size is 8, and ranks share the rows of a batch" in found[1]


@pytest.mark.parametrize("backbones", ["", "backbones: [tiny-brt]\n"])
def test_methods_and_rates_are_checked_without_a_backbone(backbones: str) -> None:
    rest = "tasks: [rte]\nmethods: [apt, lora, apet]\ntraining: {steps: 1}\n"
    found = [problem.split(": ", 1)[1] for problem in problems(backbones + rest)]
    assert sorted(text.partition(":")[0] for text in found if not text.startswith("backbones")) == [
        "learning_rates",
        "methods.0",
        "methods.2",
    ]


def test_the_message_has_file_line_column_key_value_rule_and_next_step() -> None:
    text = GOOD.replace("methods: [lora]", "methods:\n  - method: lora\n    rank: many")
    assert problems(text) == ["f.yaml:6:11: methods.0.rank: many, must be a whole number, 1 or more"]
    with pytest.raises(ApetError, match=re.escape("1 error in f.yaml:\n  f.yaml:6:11: methods.0.rank")):
        Sweep.parse(text, where="f.yaml")


# Structure


@pytest.mark.parametrize("key", ["backbones", "tasks", "methods", "learning_rates", "training"])
def test_required_keys(key: str) -> None:
    only(changed(**{key: None}), "f.yaml:1:1", "training.steps" if key == "training" else key, "missing")


@pytest.mark.parametrize("key", ["backbones", "tasks", "methods", "learning_rates", "train_seeds"])
def test_empty_axes(key: str) -> None:
    only(changed(**{key: []}), f": {key}: empty")


@pytest.mark.parametrize(
    ("keys", "parts"),
    [
        ({"learning_rate": [1]}, ["learning_rate: unknown key", "did you mean learning_rates?"]),
        ({"training": {"steps": 4, "epochs": 1}}, ["training.epochs: unknown key", "batch_size"]),
        ({"methods": [{"method": "lora", "bottleneck": 2}]}, ["methods.0.bottleneck: unknown key", "rank, alpha"]),
        ({"methods": [{"method": "bitfit", "counts": [1]}]}, ["methods.0.counts: unknown key"]),
        ({"backbones": [{"name": "tiny-bert", "modeldir": "x"}]}, ["did you mean model_dir?"]),
        ({"tasks": [{"name": "rte", "rows": 3}]}, ["tasks.0.rows: unknown key", "train_rows"]),
        ({"resources": {"gpu": 1}}, ["resources.gpu: unknown key", "did you mean gpus?"]),
        ({"methods": apet(counts={"from": 1, "to": 2, "points": 2, "step": 1})}, ["counts.step: unknown key"]),
        ({"methods": apet(counts={"like": ["lora"], "points": 2})}, ["counts.points: unknown key", "like"]),
        ({"backbones": "tiny-bert"}, ["backbones: tiny-bert, must be a list"]),
        ({"backbones": [3]}, ["backbones.0: 3, must be a name, or"]),
        ({"backbones": [{"family": "bert"}]}, ["backbones.0.name: missing"]),
        ({"training": 4}, ["training: 4, must be a mapping"]),
        ({"training": {"steps": True}}, ["training.steps: true, must be a whole number"]),
        ({"training": {"steps": -1}}, ["0 or more"]),
        ({"training": {"steps": 4, "eval_every": 0}}, ["eval_every: 0", "1 or more"]),
        ({"training": {"steps": 4, "precision": "fp16"}}, ["fp16, must be auto, fp32 or bf16", "T5 overflows fp16"]),
        ({"training": {"steps": 4, "early_stop": 2}}, ["early_stop", "set eval_every"]),
        ({"learning_rates": [0]}, ["learning_rates.0: 0, must be a number above 0"]),
        ({"learning_rates": [-1e-3]}, ["above 0"]),
        ({"learning_rates": "papr"}, ["learning_rates: papr", "did you mean paper?"]),
        ({"learning_rates": 1e-3}, ["learning_rates: 0.001, must be a list of rates"]),
        ({"train_seeds": [-1]}, ["train_seeds.0: -1", "0 or more"]),
        ({"train_seeds": 0}, ["train_seeds: 0", "1 or more"]),
        ({"head": "verbaliser"}, ["did you mean verbalizer?"]),
        ({"labels": "shared"}, ["own or unified"]),
        ({"name": "a/b"}, ["name: a/b"]),
        ({"tasks": [{"name": "rte", "train_rows": 0}]}, ["tasks.0.train_rows: 0"]),
        ({"resources": {"zero_stage": 4}}, ["0, 1, 2 or 3"]),
        ({"resources": {"zero_stage": True}}, ["0, 1, 2 or 3"]),
        ({"resources": {"ranks": 0}}, ["resources.ranks: 0", "1 or more"]),
        ({"resources": {"recompute": "yes"}}, ["resources.recompute: yes", "auto, true or false"]),
        ({"resources": {"gpus": 2, "ranks": 4}}, ["resources.ranks: 4, but resources.gpus is 2", "the same number"]),
        ({"resources": {"gpus": 0, "offload": True}}, ["resources.offload: true, but resources.gpus is 0"]),
        ({"resources": {"offload": True, "zero_stage": 1}}, ["resources.offload: true, but resources.zero_stage is 1"]),
        ({"resources": {"ranks": 33}}, ["resources.ranks: 33, but training.batch_size is 32", "share the rows"]),
        ({"resources": {"gpus": 64}}, ["resources.gpus: 64, but training.batch_size is 32", "32 at most"]),
        ({"resources": {"pack_size": 0}}, ["pack_size: 0"]),
        ({"resources": {"micro_batch": 0}}, ["micro_batch: 0", "1 or more"]),
        *(({"resources": {"checkpoint_s": value}}, ["checkpoint_s: ", "above 0"]) for value in (0, -1, "often")),
        ({"resources": {"micro_batch": "most"}}, ["micro_batch: most", "auto, or a whole number"]),
        ({"blocks": []}, ["blocks: empty"]),
    ],
)
def test_keys_and_types(keys: dict[str, Any], parts: list[str]) -> None:
    only(changed(**keys), "f.yaml:1:", *parts)


@pytest.mark.parametrize(
    ("keys", "parts"),
    [
        ({"backbones": ["tiny-brt"]}, ["backbones.0", "did you mean tiny-bert?", "quickstart-l6"]),
        ({"tasks": ["cola"]}, ["tasks.0", "'cola' is unknown", "rotten_tomatoes"]),
        ({"tasks": [{"name": "rtee"}]}, ["tasks.0.name", "did you mean rte?"]),
        ({"evaluate_on": ["rtee"]}, ["evaluate_on.0", "did you mean rte?"]),
        ({"methods": ["prefix"]}, ["methods.0", "'prefix' is unknown", "full, prompt, bitfit, lora, adapter, apet"]),
        ({"methods": [{"method": "adaptr"}]}, ["methods.0.method: adaptr", "did you mean adapter?"]),
        ({"methods": [{"rank": 3}]}, ["methods.0.method: missing", "full, prompt, bitfit, lora"]),
        ({"methods": apet(operations={"ad": 1})}, ["methods.0.operations.ad", "did you mean add?"]),
        ({"methods": apet(placement="near")}, ["placement: near", "discrete or adjacent"]),
        ({"methods": apet(sites={"add": ["gate"]})}, ["methods.0.sites.add.0", "'gate'", "bert", "q, k, v, o"]),
        ({"methods": apet(sites={"plug": ["q"]})}, ["methods.0.sites.plug.0", "'q'"]),
        ({"methods": apet(operations={"add": 1.5, "plug": 2}, sites={"add": ["q"]})}, ["operations.add", "1.5"]),
        ({"methods": apet(operations={"concat": 1.5, "plug": 2}, counts=[40_000])}, ["operations.concat", "1.5"]),
        ({"methods": apet(operations={"add": 1}, sites={"plug": ["o"]})}, ["sites", "plug", "no weight"]),
        ({"methods": apet(sites={"add": ["soft_tokens"]})}, ["methods.0.sites.add.0", "'soft_tokens'", "can't stand"]),
        ({"methods": apet(tokens=5)}, ["methods.0.tokens: tokens 5", "give concat the site soft_tokens"]),
        ({"methods": [{"method": "prompt", "tokens": 256}]}, ["methods.0.tokens: 256", "tiny-bert has 256 positions"]),
        ({"methods": [{"method": "prompt", "tokens": 0}]}, ["methods.0.tokens: 0", "1 or more"]),
    ],
)
def test_names(keys: dict[str, Any], parts: list[str]) -> None:
    only(changed(**keys), *parts)


def test_backbones_of_ones_own_need_family_and_folder(tmp_path: Path) -> None:
    only(changed(backbones=[{"name": "mine", "family": "bert"}]), "backbones.0.model_dir: missing")
    only(changed(backbones=[{"name": "mine", "model_dir": "m"}]), "backbones.0.family: missing")
    only(changed(backbones=[{"name": "tiny-bert", "family": "t5"}]), "backbones.0.name", "built in with family bert")
    text = GOOD.replace("tiny-bert", "{name: tiny-t5, model_dir: m}")
    write_model(tmp_path / "m")
    only(problems(text, tmp_path), "f.yaml:2:40: backbones.0.model_dir", "model_type bert")
    only(problems(text, tmp_path / "elsewhere"), "backbones.0.model_dir", "not found")


def test_a_data_folder_that_lacks_a_column(tmp_path: Path) -> None:
    write_rows(tmp_path / "d" / "train.jsonl")
    text = GOOD.replace("tasks: [rte]", "tasks: [{name: rte, data_dir: d}]")
    only(problems(text, tmp_path), "tasks.0.data_dir", "sentence1", "found: text, label")


# Counts


@pytest.mark.parametrize("count", [0, -3, 1.5, True, "many"])
def test_counts_are_whole_and_positive(count: Any) -> None:
    only(changed(methods=apet(counts=[count])), "methods.0.counts.0", "a whole number, 1 or more")


def test_counts_above_capacity_say_it_per_operation() -> None:
    found = changed(backbones=["tiny-bert", "tiny-t5"], methods=apet(counts=[16, 10**9]))
    assert len(found) == 2
    assert "methods.0.counts.1" in found[0]
    assert (
        "count 1000000000 is above the capacity of tiny-bert: add 768 + concat 114688 + plug 33024 = 148480" in found[0]
    )
    assert "capacity of tiny-t5" in found[1]


def test_a_range_above_capacity_is_one_error() -> None:
    found = changed(methods=apet(counts={"from": 10**8, "to": 10**9, "points": 5}))
    only(found, "methods.0.counts.to", "count 1000000000 is above the capacity")


def test_ranges_that_run_backwards() -> None:
    only(changed(methods=apet(counts={"from": 9, "to": 3, "points": 2})), "counts.from: 9 is above `to`, 3")
    found = changed(methods=apet(counts={"from": 10**9, "to": "capacity", "points": 2}))
    only(found, "counts.from", "above capacity on tiny-bert, 148480")


def test_an_incomplete_range_and_an_unknown_method_in_like() -> None:
    only(changed(methods=apet(counts={"from": 9, "to": 30})), "counts.points: missing")
    only(changed(methods=apet(counts={"from": 9, "to": "adaptr", "points": 2})), "did you mean adapter?")
    only(changed(methods=apet(counts={"like": ["full"]})), "counts.like.0: full", "prompt, bitfit, lora or adapter")
    only(changed(methods=["apet"]), "methods.0: apet", "counts")


def test_sizes_above_a_sites_capacity() -> None:
    only(changed(methods=[{"method": "lora", "rank": 65}]), "methods.0.rank", "65", "tiny-bert", "64")


def test_more_trials_than_anyone_runs() -> None:
    only(changed(methods=apet(position_seeds=2**50)), "at most 1000000")


# Lists, pairs, heads


@pytest.mark.parametrize(
    ("keys", "place"),
    [
        ({"backbones": ["tiny-bert", {"name": "tiny-bert"}]}, "backbones.1"),
        ({"tasks": ["rte", "sst2", "rte"]}, "tasks.2"),
        ({"methods": ["lora", {"method": "lora"}]}, "methods.1"),
        ({"learning_rates": [1, 1.0]}, "learning_rates.1"),
        ({"train_seeds": [3, 3]}, "train_seeds.1"),
        ({"methods": apet(counts=[5, 5])}, "methods.0.counts.1"),
        ({"methods": apet(placement=["discrete", "discrete"])}, "methods.0.placement.1"),
        ({"methods": apet(position_seeds=[1, 1])}, "methods.0.position_seeds.1"),
        ({"methods": apet(sites={"add": ["q", "q"]})}, "methods.0.sites.add.1"),
        ({"methods": apet(counts={"like": ["lora", "lora"]})}, "methods.0.counts.like.1"),
        ({"evaluate_on": ["sst2", "sst2"]}, "evaluate_on.1"),
    ],
)
def test_a_value_twice_in_one_list(keys: dict[str, Any], place: str) -> None:
    found = [problem for problem in changed(**keys) if f": {place}: " in problem]
    only(found, "there twice")


def test_heads_that_a_backbone_cannot_have() -> None:
    only(changed(backbones=["tiny-bert", "tiny-t5"], head="frozen"), "head: frozen", "tiny-t5", "only encoders")
    only(changed(backbones=["bert-small", "tiny-bloom"], head="verbalizer"), "head: verbalizer", "tiny-bloom")


def test_no_verbalizer_without_a_language_model_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trials.sources.locations._check_package", lambda source: None)
    only(changed(backbones=["quickstart-l3"], head="verbalizer"), "head: verbalizer", "quickstart-l3", "use frozen")


@pytest.mark.parametrize("task", ["nq_open", "samsum", "multi_news"])
def test_an_encoder_takes_no_task_whose_answer_is_a_text(task: str) -> None:
    both = ["tiny-t5", "tiny-bert"]
    only(changed(backbones=both, tasks=["sst2", task]), f"tasks.1: {task} can't be done by tiny-bert", "bloom, t5")
    only(
        changed(backbones=both, tasks=["sst2"], evaluate_on=[task]), f"evaluate_on.0: {task} can't be done by tiny-bert"
    )


def test_labels_are_unified_only_where_there_are_some() -> None:
    t5 = {"backbones": ["tiny-t5"], "labels": "unified"}
    rule = "no labels to unify; use own, or leave the task out"
    only(changed(**t5, tasks=["sst2", "nq_open"]), "labels: unified, but nq_open has", rule)
    only(changed(**t5, tasks=["sst2"], evaluate_on=["rte", "samsum"]), "labels: unified, but samsum has", rule)


def test_targets_and_labels() -> None:
    only(changed(evaluate_on=["rte"]), "evaluate_on.0", "name other tasks")
    found = changed(tasks=["rte", "mrpc"], evaluate_on=["mnli", {"name": "rte", "test_rows": 5}], labels="unified")
    only(found, "evaluate_on.1", "rte stands in `tasks` with other data or limits", "write rte alone here")
    found = changed(tasks=["rte"], evaluate_on=["mnli"], head="frozen")
    only(found, "evaluate_on.0", "mnli has 3 labels and rte 2", "labels: unified")


def test_blocks_name_their_own_keys_and_report_defaults_once() -> None:
    text = """backbones: [tiny-brt]
training: {steps: 4}
learning_rates: [1e-3]
blocks:
  - {tasks: [rte], methods: [lora], resources: {}}
  - {tasks: [rte], methods: [{method: lora, rank: 0}]}
  - {methods: [bitfit]}
"""
    found = problems(text)
    assert [problem.split(": ")[1] for problem in found] == [
        "backbones.0",
        "blocks.0.resources",
        "blocks.1.methods.0.rank",
        "blocks.2.tasks",
    ]
    assert "beside `blocks`" in found[1]
