"""What packs take of a machine."""

from __future__ import annotations

import pytest

from orchestrator.driver.room import Room
from orchestrator.planning.devices import Machine
from trials.errors import ApetError
from trials.setup import Setup

GIB = 2**30
ONE, TWO, CARD = Setup("cpu", threads=1), Setup("cpu", threads=2), Setup("cuda", gpus=1, memory=4 * GIB)
GANG = Setup("cuda", gpus=2, ranks=2, threads=3, memory=10 * GIB)
ON_CPUS = Setup("cpu", ranks=2, zero_stage=3, threads=1, memory=3 * GIB)


@pytest.mark.parametrize(
    ("machine", "setups", "at_once"),
    [
        (Machine(4, GIB), [ONE] * 9, 4),
        (Machine(4, GIB), [TWO, ONE, TWO], 2),
        (Machine(32, 64 * GIB), [Setup("cpu", threads=1, memory=8 * GIB)] * 40, 7),
        (Machine(8, 64 * GIB, gpus=2), [CARD] * 5, 2),
        (Machine(8, 64 * GIB, gpus=4), [GANG, GANG, GANG], 1),
        (Machine(1, 64 * GIB, gpus=4), [CARD] * 5, 1),
        (Machine(5, 64 * GIB), [ON_CPUS, ON_CPUS, ON_CPUS], 2),
        (Machine(8, 14 * GIB), [ON_CPUS, ON_CPUS, ON_CPUS], 2),
        (Machine(3, 64 * GIB), [ON_CPUS, ONE, ONE], 2),
        (Machine(2, GIB), [], 0),
    ],
)
def test_packs_at_a_time(machine: Machine, setups: list[Setup], at_once: int) -> None:
    room = Room((machine,))
    assert room.at_once(setups) == setups[:at_once]
    if len(setups) > at_once:
        assert not room.fits(setups[at_once], setups[:at_once])


def test_a_pack_that_would_wait_for_ever() -> None:
    room = Room((Machine(8, 16 * GIB, gpus=1),))
    room.check(CARD)
    with pytest.raises(ApetError, match=r"takes 6 CPUs, 2 GPUs and 20\.0 GiB.*has 8 CPUs, 1 GPU and 14\.4 GiB"):
        room.check(GANG)
