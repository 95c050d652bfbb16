"""Of what ranks say when a gang breaks, what explains the rest; and that all they say comes out as it went in."""

from __future__ import annotations

import pickle

import pytest

from trials.errors import ApetError
from workers.gang import messages as say
from workers.gang.messages import KINDS, Message, Trouble, read, write
from workers.gang.verdict import Anew, GangError, verdict

PLACES = ["step 3", "step 4", "step 3"]
CLOSED = Trouble(say.COLLECTIVE, "RuntimeError", "Connection closed by peer")
DEAD = Trouble(say.DIED, "RankDied", "its process ended: killed by SIGKILL")
RAISED = Trouble(say.RAISED, "ValueError", "ValueError: no luck", "Traceback")
SHORT = Trouble(say.MEMORY, "ShortOfMemory", "out of memory", limits={"rows": 4})
WRONG = Trouble(say.INPUT, "ApetError", "no GPU here")


@pytest.mark.parametrize(
    ("troubles", "silent", "text"),
    [
        ({0: CLOSED, 1: DEAD, 2: CLOSED}, [], "rank 1 of 3, at step 4: its process ended: killed by SIGKILL"),
        ({0: CLOSED, 2: RAISED, 1: CLOSED}, [], "rank 2 of 3, at step 3: ValueError: no luck"),
        ({2: RAISED, 1: RAISED}, [0], "rank 2 of 3, at step 3: ValueError: no luck"),
        ({0: RAISED, 1: DEAD}, [], "rank 1 of 3, at step 4: its process ended: killed by SIGKILL"),
        (
            {0: CLOSED, 2: CLOSED},
            [1],
            "rank 1 of 3, at step 4: it hangs: the others waited for it in vain (Connection closed by peer)",
        ),
        (
            {0: CLOSED},
            [1, 2],
            "rank 1 of 3, at step 4: it hangs: the others waited for it in vain (Connection closed by peer); so does "
            "rank 2, at step 3",
        ),
        ({2: CLOSED}, [], "rank 2 of 3, at step 3: Connection closed by peer"),
    ],
)
def test_what_explains_the_others(troubles: dict[int, Trouble], silent: list[int], text: str) -> None:
    error = verdict(troubles, silent, PLACES, lambda rank: f"the words of {rank}\n")
    assert isinstance(error, GangError)
    assert str(error) == text
    assert f"the words of {error.rank}" in error.log
    assert str(pickle.loads(pickle.dumps(error))) == text, "it travels"


def test_memory_comes_before_all_and_is_no_failure() -> None:
    error = verdict({0: CLOSED, 1: DEAD, 2: SHORT}, [], PLACES, lambda rank: "")
    assert isinstance(error, Anew)
    assert error.limits == {"rows": 4}
    assert error.error.rank == 2


def test_wrong_input_is_said_once_and_of_one_rank_alone_with_its_number() -> None:
    everywhere, there = (verdict(t, [], PLACES, lambda rank: "") for t in ({1: WRONG, 0: WRONG}, {1: WRONG, 0: CLOSED}))
    assert isinstance(everywhere, ApetError)
    assert str(everywhere) == "no GPU here"
    assert str(there) == "rank 1: no GPU here"


@pytest.mark.parametrize(
    "message",
    [
        say.Start("s3://store", "module:Name", "auto"),
        say.Join("cpu", 1, 2, "127.0.0.1", None, 3.5, True),
        say.Run('{"a": "line\n"}', {"rows": 4}),
        say.Stop(),
        say.Ready(),
        say.Port(4),
        say.Joined(),
        say.At("step 3"),
        say.Said("é\n"),
        say.Told("{}"),
        say.Done(),
        SHORT,
    ],
)
def test_a_message_is_one_line_and_comes_out_as_it_went_in(message: Message) -> None:
    line = write(message)
    assert line.count("\n") == 1
    assert line.isascii()
    assert read(line) == message
    assert type(message) in KINDS.values()
