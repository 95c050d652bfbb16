"""Identity of a trial: canonical, complete, rebuilt from its own text."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trials.backbones import BACKBONES
from trials.canonical import canonical, digest, plain, without
from trials.errors import ApetError
from trials.modules import methods
from trials.pack import Member, Pack, Sources, superseded
from trials.trial import SPEC_VERSION, Method, Source, TaskRef, Training, Trial


def trial(method: Method | None = None, **fields: object) -> Trial:
    base = Trial(
        backbone=BACKBONES["tiny-bert"],
        task=TaskRef("rte", Source("hub", "nyu-mll/glue", "1")),
        method=method or methods.apet("bert", 100),
        learning_rate=1e-3,
        training=Training(steps=10),
        position_seed=0,
        head="verbalizer",
    )
    return replace(base, **fields)  # type: ignore[arg-type]  # tests name fields as they like


def test_an_id_never_changes_by_itself() -> None:
    """If this fails, every stored trial has lost its identity: raise SPEC_VERSION, don't edit the number."""
    assert SPEC_VERSION == 2
    assert trial().trial_id == "0ff7e2a79a3750197124"


@pytest.mark.parametrize(("precision", "says"), [("fp16", "T5 overflows fp16"), ("fp23", "did you mean fp32")])
def test_a_precision_that_nobody_has_is_refused_wherever_it_stands(precision: str, says: str) -> None:
    with pytest.raises(ApetError, match=says):
        Training(steps=10, precision=precision)
    spec = trial(training=Training(steps=10, precision="bf16")).spec
    with pytest.raises(ApetError, match="Choices: auto, fp32, bf16"):
        Trial.from_spec(spec.replace('"bf16"', f'"{precision}"'))


def test_the_ids_of_version_1_stay_too() -> None:
    """Rows of then are looked at: each still hashes to its id, and is the trial that it was."""
    one = trial(spec_version=1)
    assert one.trial_id == "0e9efe6e19200451232b"
    assert Trial.from_spec(one.spec) == one != trial()
    assert "of spec version 1, and this build runs version 2: run its sweep again" in superseded(one)
    assert superseded(trial()) == ""
    with pytest.raises(ApetError, match=r"trial 0e9efe6e19200451232b can't be trained: it is of spec version 1"):
        Pack("p", (Member(one),), Sources("random:tiny-bert", "hub:nyu-mll/glue@1"))


def test_the_spec_is_canonical_json_of_every_field() -> None:
    for one in (trial(), trial(evaluate_on=(trial().task, TaskRef("sst2", Source("package", "p", "1"), 5)))):
        expected = {"text_version": 1, **plain(one)}
        assert expected["method"].pop("further") == {}
        assert one.spec == canonical(expected)
        assert one.trial_id == digest(one.spec)
        assert len(one.trial_id) == 20


def test_a_spec_has_no_place_for_where_things_lie() -> None:
    keys = set(json.loads(trial().spec))
    assert keys == {
        *("backbone", "evaluate_on", "head", "labels", "learning_rate", "method", "position_seed", "spec_version"),
        *("task", "text_version", "train_seed", "training"),
    }


@pytest.mark.parametrize(
    "fields",
    [
        {"learning_rate": 2e-3},
        {"train_seed": 1},
        {"position_seed": 1},
        {"head": "frozen"},
        {"labels": "unified"},
        {"training": Training(steps=11)},
        {"training": Training(steps=10, precision="fp32")},
        {"task": TaskRef("rte", Source("hub", "nyu-mll/glue", "2"))},
        {"task": TaskRef("rte", Source("hub", "nyu-mll/glue", "1"), train_rows=5)},
        {"method": methods.apet("bert", 101)},
        {"method": methods.apet("bert", 100, placement="adjacent")},
        {"method": methods.apet("bert", 100, {"add": 1})},
        {"method": methods.apet("bert", 100, sites={"add": ["q"]})},
        {"backbone": BACKBONES["tiny-t5"]},
        {"evaluate_on": (TaskRef("sst2", Source("hub", "x", "1")),)},
    ],
)
def test_everything_that_decides_the_result_changes_the_id(fields: dict[str, object]) -> None:
    assert trial(**fields).trial_id != trial().trial_id


def test_shared_ids_ignore_what_they_should() -> None:
    one = trial()
    seeds = trial(learning_rate=1.0, position_seed=5, train_seed=5)
    count = trial(methods.apet("bert", 200))
    assert one.cell_id == seeds.cell_id != count.cell_id
    assert one.curve_id == seeds.curve_id == count.curve_id
    assert trial(methods.named("lora")).curve_id != one.curve_id
    assert one.cell_id == without(one.spec, "learning_rate", "position_seed", "train_seed")


def test_pack_keys_let_methods_share_but_not_data_order() -> None:
    one = trial()
    assert one.pack_key == trial(methods.named("lora"), learning_rate=1.0, position_seed=None).pack_key
    assert one.pack_key != trial(train_seed=1).pack_key
    assert one.pack_key != trial(training=Training(steps=11)).pack_key
    full = trial(methods.named("full"))
    assert full.pack_key == full.trial_id


@given(
    st.floats(min_value=1e-12, max_value=1e3),
    st.integers(0, 2**53),
    st.integers(1, 10**6),
    st.sampled_from(["discrete", "adjacent"]),
)
def test_a_trial_is_rebuilt_from_its_spec(rate: float, seed: int, count: int, placement: str) -> None:
    one = trial(methods.apet("bert", count, placement=placement), learning_rate=rate, position_seed=seed)
    again = Trial.from_spec(one.spec)
    assert again == one
    assert hash(again) == hash(one)
    assert again.trial_id == one.trial_id


def test_a_size_with_a_new_name_is_in_the_specs_that_have_it_and_in_no_other() -> None:
    one = trial(Method.sized("new", {"rank": 3, "width": 0.5}))
    assert json.loads(one.spec)["method"] == json.loads(trial(Method("new", rank=3)).spec)["method"] | {"width": 0.5}
    assert one.method.sizes == {"rank": 3, "width": 0.5}
    again = Trial.from_spec(one.spec)
    assert again == one
    assert again.method.further == {"width": 0.5}


@pytest.mark.parametrize("value", ["null", '"wide"', "true", "[1]"])
def test_what_is_no_size_makes_no_spec(value: str) -> None:
    spec = trial(Method.sized("new", {"width": 7})).spec
    with pytest.raises(ApetError, match="not a trial's spec"):
        Trial.from_spec(spec.replace('"width":7', f'"width":{value}'))


@pytest.mark.parametrize("text", ["", "[]", "{}", "4", '{"spec_version": 1}', '{"spec_version": 1, "text_version": 1}'])
def test_what_is_no_spec(text: str) -> None:
    with pytest.raises(ApetError, match="not a trial's spec"):
        Trial.from_spec(text)


def test_specs_of_another_version() -> None:
    data = {**json.loads(trial().spec), "spec_version": 99}
    with pytest.raises(ApetError, match=r"spec version 99\.1; this build reads 1\.1 and 2\.1"):
        Trial.from_spec(canonical(data))


def test_not_a_number_is_no_learning_rate() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        _ = trial(learning_rate=float("nan")).spec
