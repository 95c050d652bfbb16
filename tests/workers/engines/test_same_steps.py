"""Plain PyTorch and DeepSpeed (stage 0, one CPU process) take the same steps to the bit, alone as in a pack."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from engines_for_tests import RATES, equal, take, two
from tiny_for_tests import FAMILIES, frozen, pack

from trials.errors import ApetError
from workers.engines import choice
from workers.engines.engine import Group

both = pytest.mark.parametrize("engine_name", choice.ENGINES)
families = pytest.mark.parametrize("name", FAMILIES)


@families
@pytest.mark.parametrize("drop_at", [None, 2])
def test_the_engines_take_the_same_steps_bitwise(name: str, drop_at: int | None, trial: Any) -> None:
    found = {}
    for engine_name in choice.ENGINES:
        with two(engine_name, name, trial) as (engine, model):
            losses = []
            for step in range(5):
                if step == drop_at:
                    engine.drop(0)
                    model.modules_K.active = [1]  # type: ignore[union-attr]
                losses += take(engine, name, 1)
            found[engine_name] = [*losses, *engine.values(0), *engine.values(1)]
    assert equal(found["plain"], found["deepspeed"])


@both
@families
def test_a_trial_alone_takes_the_steps_it_takes_in_a_pack(engine_name: str, name: str, trial: Any) -> None:
    with two(engine_name, name, trial) as (engine, _):
        take(engine, name, 4)
        packed = engine.values(1)
    with pack(frozen(name), [trial(name, count=60, operations={"concat": 1})]) as (model, modules):
        engine = choice.make(engine_name, model, [Group([modules.thetas[0]], RATES[1])])
        take(engine, name, 4)
        assert equal(engine.values(0), packed)
        engine.close()


def test_an_unknown_engine_names_the_choices() -> None:
    with pytest.raises(ApetError, match="did you mean deepspeed"):
        choice.make("deepsped", torch.nn.Linear(1, 1), [])
