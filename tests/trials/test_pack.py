"""A pack travels as JSON and holds trials that belong together."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from sweeps_for_tests import apet, sweep

from trials.errors import ApetError
from trials.pack import Member, Pack, Sources
from trials.setup import Setup

WHERE = Sources("random:tiny-bert", "hub:nyu-mll/glue@1", {"sst2": "folder:/data/sst2"})


def pack(**keys: object) -> Pack:
    found = sweep(methods=["lora", "bitfit", apet(position_seeds=2)], **keys).trials()
    members = tuple(Member(trial, attempt) for attempt, trial in enumerate(found))
    return Pack("p1", members, WHERE, sweep="small", setup=Setup(zero_stage=1, reason="asked for"))


def test_a_pack_survives_its_json(tmp_path: Path) -> None:
    one = pack()
    assert len(one.members) == 4
    assert Pack.from_json(one.to_json()) == one
    path = tmp_path / "pack.json"
    path.write_text(one.to_json())
    assert Pack.read(path) == one


def test_a_packs_json_holds_specs_as_they_are() -> None:
    one = pack()
    specs = [member["spec"] for member in json.loads(one.to_json())["members"]]
    assert specs == [json.loads(member.trial.spec) for member in one.members]


def test_trials_that_cannot_share_are_refused() -> None:
    with pytest.raises(ApetError, match="2 pack keys"):
        pack(train_seeds=2)
    full = sweep(methods=["full"], learning_rates=[1e-3, 1e-4]).trials()
    with pytest.raises(ApetError, match="a full trial is alone"):
        Pack("p", tuple(Member(trial) for trial in full), WHERE)
    with pytest.raises(ApetError, match="0 pack keys"):
        Pack("p", (), WHERE)


@pytest.mark.parametrize(
    ("setup", "says"),
    [
        (Setup("cuda", gpus=2), "1 ranks on 2 GPUs"),
        (Setup("cpu", ranks=33, zero_stage=3), "33 ranks and batches of 32 rows"),
        (Setup("cpu", zero_stage=3, offload=True), "offload on the CPU"),
    ],
)
def test_a_set_up_that_nothing_can_run_makes_no_pack(setup: Setup, says: str) -> None:
    """Written by hand, or changed by an option: it is refused before anything is loaded."""
    one = pack()
    with pytest.raises(ApetError, match=f"pack p1: its set-up is {says}"):
        replace(one, setup=setup)
    plain = json.loads(one.to_json())
    plain["setup"] |= {"device": setup.device, "gpus": setup.gpus, "ranks": setup.ranks, "offload": setup.offload}
    plain["setup"]["zero_stage"] = setup.zero_stage
    with pytest.raises(ApetError, match=says):
        Pack.from_json(json.dumps(plain))


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("ranks", 0, "ranks 0, and it is a whole number, 1 or more"),
        ("ranks", "2", "ranks '2', and"),
        ("gpus", -1, "gpus -1, and it is a whole number, 0 or more"),
        ("micro_batch", 0, "micro_batch 0, and"),
        ("threads", True, "threads True, and"),
        ("zero_stage", 4, "zero_stage 4, and ZeRO has the stages 0, 1, 2 and 3"),
        ("zero_stage", True, "zero_stage True, and"),
        ("recompute", "maybe", "recompute 'maybe', and it is true or false"),
    ],
)
def test_a_value_that_a_key_of_the_set_up_cannot_have_makes_no_pack(key: str, value: object, says: str) -> None:
    plain = json.loads(pack().to_json())
    plain["setup"][key] = value
    with pytest.raises(ApetError, match=f"pack p1: its set-up is {says}"):
        Pack.from_json(json.dumps(plain))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"members": []}', '{"members": [{"spec": {}, "attempt": 0}]}'])
def test_what_is_no_pack(text: str) -> None:
    with pytest.raises(ApetError):
        Pack.from_json(text)


def test_a_pack_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ApetError, match="give a pack's JSON file"):
        Pack.read(tmp_path / "nothing.json")
