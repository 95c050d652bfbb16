"""What ranks decide together is the same on all of them; a gang of one is a process alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ranks import RanksFailed, on_ranks

from trials.errors import ApetError
from trials.failures import InfrastructureError
from workers.gang.deepspeed import connected
from workers.gang.gang import ALONE, Gang
from workers.pack.memory import OutOfMemoryError
from workers.pack.together import each, together


def decided(gang: Gang) -> dict[str, Any]:
    """Of ranks that differ in everything."""
    rank = gang.rank
    tensors = [torch.full((2, 3), float(rank)), torch.tensor(0.1 * (rank + 1)), torch.empty(0)]
    gang.sum(tensors)
    single = [torch.tensor([1.0, float(rank)])]
    gang.sum(single)
    gang.sum([])
    return {
        "first": gang.first,
        "ranks": gang.ranks,
        "sum": [x.tolist() for x in (*tensors, *single)],
        "most": gang.most(10 * rank),
        "large": gang.most(2**40 + rank),
        "any": [gang.any(False), gang.any(rank == 1), gang.any(True)],
        "of_first": gang.of_first({"rank": rank, "bytes": bytes([rank]) * 3}),
        "gather": gang.gather(["a"] * rank),
    }


def failures(gang: Gang) -> list[Any]:
    """Work that goes wrong on one rank, on two, and on none; one item of many; memory among them."""

    def fails(*of: int, error: Exception) -> Any:
        def work() -> str:
            if gang.rank in of:
                raise error
            return f"fine on {gang.rank}"

        return work

    said: list[Any] = [together(gang, fails(error=ApetError("x")))]
    for of, error in (((1,), ApetError("no file")), ((2,), MemoryError("no room")), ((1, 2), ApetError("gone"))):
        try:
            together(gang, fails(*of, error=error))
        except (ApetError, OutOfMemoryError) as caught:
            said.append((type(caught).__name__, str(caught), getattr(caught, "of_all", None)))

    def odd(item: int) -> int:
        if item == 2 and gang.rank == 1:
            raise KeyError("two")
        return item * 10

    return [*said, [repr(x) if isinstance(x, Exception) else x for x in each(gang, [1, 2, 3], odd)]]


def both(gang: Gang) -> tuple[Any, Any]:
    return decided(gang), failures(gang)


def test_all_ranks_decide_alike() -> None:
    found = on_ranks(3, both)
    sums = [[[3.0] * 3] * 2, pytest.approx(0.6), [], [3.0, 3.0]]
    same = {"ranks": 3, "most": 20, "large": 2**40 + 2, "any": [False, True, True], "gather": [[], ["a"], ["a", "a"]]}
    for rank, (facts, _) in enumerate(found):
        assert facts["first"] == (rank == 0)
        assert facts["sum"] == sums
        assert {key: facts[key] for key in same} == same
        assert facts["of_first"] == {"rank": 0, "bytes": bytes(3)}
    assert len({repr(facts["sum"]) for facts, _ in found}) == 1, "to the bit"
    for rank, (_, said) in enumerate(found):
        assert said[0] == f"fine on {rank}"
        assert said[1] == ("ApetError", "no file" if rank == 1 else "rank 1: no file", None)
        assert said[2] == ("OutOfMemoryError", "no room" if rank == 2 else "rank 2: no room", True)
        assert said[3] == ("ApetError", "gone" if rank == 1 else "rank 1: gone", None)
        assert said[4] == [10, "KeyError('two')" if rank == 1 else "ApetError(\"rank 1: KeyError: 'two'\")", 30]


def test_a_process_alone_is_a_gang_of_one() -> None:
    (facts, _), (alone, said) = on_ranks(1, both)[0], both(ALONE)
    assert facts == alone
    assert alone["first"]
    assert said == ["fine on 0", [10, 20, 30]]


def hang_or_raise(gang: Gang) -> None:
    if gang.rank == 1:
        raise ValueError("rank 1 had enough")
    gang.most(1)


def test_a_rank_that_raises_is_what_the_helper_shows() -> None:
    with pytest.raises(RanksFailed, match="rank 1 had enough"):
        on_ranks(2, hang_or_raise)


def other_device(gang: Gang) -> str:
    connected("cpu")
    with pytest.raises(InfrastructureError) as caught:
        connected("cuda")
    return str(caught.value)


def test_a_process_has_deepspeed_for_one_kind_of_device() -> None:
    assert on_ranks(1, other_device) == ["DeepSpeed is for cpu in this process, and can't change to cuda"]
