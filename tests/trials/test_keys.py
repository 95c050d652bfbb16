"""Keys: a trial's and its row's are the same, and each agrees exactly where it should."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rows_for_tests import attempts, row, task, trial

from trials import keys
from trials.backbones import BACKBONES
from trials.canonical import canonical, digest
from trials.modules import methods
from trials.store import views
from trials.trial import Method, Source, TaskRef, Training, Trial

TASKS = st.builds(
    TaskRef, st.sampled_from(["rte", "sst2"]), st.just(Source("hub", "x", "1")), st.sampled_from([None, 9])
)
METHODS = st.one_of(
    st.sampled_from([methods.named(name) for name in methods.METHODS if name != "apet"]),
    st.builds(methods.apet, st.just("bert"), st.integers(1, 3), placement=st.sampled_from(["discrete", "adjacent"])),
    st.builds(Method.sized, st.just("new"), st.dictionaries(st.sampled_from(["rank", "width"]), st.integers(1, 2))),
)
TRIALS = st.builds(
    Trial,
    backbone=st.sampled_from([BACKBONES["tiny-bert"], replace(BACKBONES["tiny-bert"], head_scale=0.3)]),
    task=TASKS,
    method=METHODS,
    learning_rate=st.sampled_from([1e-3, 1e-2]),
    training=st.builds(Training, st.integers(1, 2), max_input_length=st.sampled_from([128, 256])),
    train_seed=st.integers(0, 1),
    position_seed=st.sampled_from([None, 0, 1]),
    head=st.sampled_from(["frozen", "trained"]),
    evaluate_on=st.lists(TASKS, max_size=2, unique_by=lambda task: task.name).map(tuple),
)


def less(one: Trial, *left_out: str) -> dict[str, Any]:
    """The definition: the spec's fields, some of them left out."""
    return {key: value for key, value in json.loads(one.spec).items() if key not in left_out}


@settings(max_examples=100, deadline=None)
@given(TRIALS)
def test_a_trial_and_its_row_have_the_same_keys(one: Trial) -> None:
    table = views.with_groups(attempts(row(one)))
    assert table["cell_id"].to_pylist() == [one.cell_id] == [keys.cell(one.spec)]
    assert table["curve_id"].to_pylist() == [one.curve_id] == [keys.curve(one.spec)]
    data = less(one, "learning_rate", "position_seed", "train_seed")
    assert one.cell_id == digest(canonical(data))
    data["method"].pop("count")
    assert one.curve_id == digest(canonical(data))
    data = less(one, "learning_rate", "position_seed", "method")
    assert one.pack_key == (one.trial_id if one.method.name == "full" else digest(canonical(data)))


@settings(max_examples=200, deadline=None)
@given(TRIALS, TRIALS)
def test_trials_share_a_setting_where_all_but_method_seeds_rate_and_targets_agrees(one: Trial, other: Trial) -> None:
    free = ("method", "learning_rate", "position_seed", "train_seed", "evaluate_on")
    for right in (other, replace(one, **{name: getattr(other, name) for name in free})):
        assert (keys.setting(one.spec) == keys.setting(right.spec)) == (less(one, *free) == less(right, *free))


@settings(max_examples=100, deadline=None)
@given(TRIALS)
def test_a_target_has_the_key_of_the_trial_that_is_trained_on_it(one: Trial) -> None:
    assert list(keys.transfers(one.spec)) == [target.name for target in one.evaluate_on]
    for target in one.evaluate_on:
        trained = replace(
            one,
            task=replace(target, train_rows=5, validation_rows=7),
            learning_rate=7.0,
            training=replace(one.training, max_input_length=64),
            evaluate_on=(),
        )
        assert keys.transfers(one.spec)[target.name] == keys.transfer(trained.spec)
        assert keys.matrix(one.spec) == keys.matrix(trained.spec)
        seed = replace(trained, train_seed=one.train_seed + 1)
        rows = replace(trained, task=replace(trained.task, test_rows=5))  # the score is of other rows
        for other in (seed, rows):
            assert keys.transfers(one.spec)[target.name] != keys.transfer(other.spec)
            assert keys.matrix(one.spec) == keys.matrix(other.spec)


def test_keys_are_the_same_where_a_part_has_a_key_of_the_same_name() -> None:
    """A spec's text is cut only where each key stands once; other specs, and others' texts, are parsed."""
    data = json.loads(trial(rate=1e-5).spec)
    data["training"]["learning_rate"], data["method"]["zeal"] = 0.5, ',"train_seed":7'
    text = canonical(data)
    method = {key: value for key, value in data["method"].items() if key != "count"}
    cell = {key: value for key, value in data.items() if key not in keys.AXES}
    wanted = digest(canonical(cell)), digest(canonical(cell | {"method": method}))
    assert keys.cell_and_curve(text) == keys.cell_and_curve(json.dumps(data)) == wanted


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"name": "mine", "scale": "small"}, True),
        ({"head_scale": 0.3}, True),
        ({"weights": Source("folder", "x", "2")}, False),
        ({"shape": replace(BACKBONES["tiny-bert"].shape, blocks=3)}, False),
    ],
)
def test_a_backbone_is_warm_for_all_that_have_its_content(change: dict[str, Any], same: bool) -> None:
    ref = BACKBONES["tiny-bert"]
    assert (keys.warmth(ref.text, "auto") == keys.warmth(replace(ref, **change).text, "auto")) is same
    assert keys.warmth(ref.text, "fp32") != keys.warmth(ref.text, "bf16")


def test_what_the_backbone_alone_answers_hangs_on_a_seed_where_one_draws_the_head() -> None:
    one = trial()
    of = lambda **fields: keys.untrained(replace(one, **fields).spec, "fp32")  # noqa: E731
    assert of() == of(train_seed=1) == of(learning_rate=0.5) == of(method=methods.named("lora"), position_seed=None)
    assert of() == of(
        training=replace(one.training, steps=1, batch_size=2, precision="fp32"), evaluate_on=(task("rte"),)
    )
    assert of() == of(backbone=replace(one.backbone, name="mine", head_scale=0.5))
    assert of() == of(task=replace(one.task, train_rows=9)), "the test rows are the same"
    other = replace(one.backbone, weights=Source("random", "tiny-bert", "2"))
    longer = replace(one.training, max_input_length=9)
    different = [
        *({"head": "frozen"}, {"head": "trained"}, {"head": "frozen", "train_seed": 1}, {"labels": "unified"}),
        *({"backbone": other}, {"training": longer}, {"task": replace(one.task, test_rows=9)}, {"task": task("rte")}),
    ]
    found = [of(), *(of(**fields) for fields in different), keys.untrained(one.spec, "bf16")]
    assert len(set(found)) == len(found)
