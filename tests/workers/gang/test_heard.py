"""What a supervisor makes of what it hears, with ranks that are only a script."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from gangs_for_tests import ganged_pack

from trials.errors import ApetError
from trials.pack import Pack
from trials.store.store import Store
from workers.gang import messages as say
from workers.gang import supervisor
from workers.gang.messages import Message, Trouble
from workers.gang.supervisor import GangError, GangWorker
from workers.pack.progress import Ended, Progress

Heard = list[tuple[int, Message | None]]
SHORT = Trouble(say.MEMORY, "ShortOfMemory", "out of memory", limits={"rows": 4})
CLOSED = Trouble(say.COLLECTIVE, "RuntimeError", "Connection closed by peer")


class Script:
    """Ranks and their launcher: to each order they say what stands for it, to a pack the next that is told."""

    host, local = "nowhere", True

    def __init__(self, *told: Heard, words: str = "") -> None:
        self.told, self.words = list(told), words
        self.ran: list[say.Run] = []
        self.started = self.killed = 0
        self._next: Heard = []

    def start(self, ranks: int, device: str) -> Script:
        self.started += 1
        self._next = []
        return self

    def send(self, text: str, rank: int | None = None) -> None:
        order = say.read(text)
        if isinstance(order, say.Start):
            self._next += [(0, say.Ready()), (1, say.Ready())]
        elif isinstance(order, say.Join):
            self._next += [(0, say.Port(1))] if order.port is None else [(0, say.Joined()), (1, say.Joined())]
        elif isinstance(order, say.Run):
            self.ran.append(order)
            self._next += self.told.pop(0)

    def events(self, wait_s: float) -> list[tuple[int, str | None]]:
        """One at a time."""
        now, self._next = self._next[:1], self._next[1:]
        return [(rank, None if message is None else say.write(message)) for rank, message in now]

    def last_words(self, rank: int) -> str:
        return self.words

    def kill(self) -> None:
        self.killed += 1


@pytest.fixture
def worker(store: Store, monkeypatch: pytest.MonkeyPatch) -> Callable[[Script], GangWorker]:
    monkeypatch.setattr(supervisor, "BETTER_S", 0.2)
    monkeypatch.setattr(supervisor, "START_S", 0.2)
    return lambda script: GangWorker(store, script)


def told(*ended: str) -> say.Told:
    progress = Progress("pack", 1, 2, {}, tuple(Ended(trial, "completed") for trial in ended))
    return say.Told(progress.to_json())


def done() -> Heard:
    return [(0, say.Done()), (1, say.Done())]


def test_what_comes_behind_a_first_error_is_heard_too(worker: Callable[[Script], GangWorker]) -> None:
    script = Script([(0, told()), (0, CLOSED), (0, told("x")), (1, None)], words="some\nkilled by SIGKILL\n")
    found = worker(script).run(ganged_pack())
    assert not next(found).ended
    assert next(found).ended[0].trial_id == "x"
    with pytest.raises(GangError, match=r"^rank 1 of 2, at its start: its process ended: killed by SIGKILL$"):
        next(found)
    assert script.killed == 1


def test_ranks_short_of_memory_get_only_what_is_left_and_not_for_ever(worker: Callable[[Script], GangWorker]) -> None:
    pack = ganged_pack(trials=2)
    first, second = (m.trial.trial_id for m in pack.members)
    script = Script([(0, told(first)), (1, SHORT), (0, CLOSED)], [(0, told(second)), *done()])
    assert [e.trial_id for p in worker(script).run(pack) for e in p.ended] == [first, second]
    assert [run.limits for run in script.ran] == [None, {"rows": 4}]
    left = Pack.from_json(script.ran[1].pack).members
    assert [m.trial.trial_id for m in left] == [second]
    assert script.started == 2

    for_ever = Script([(1, SHORT)], [(1, SHORT)])
    with pytest.raises(GangError, match="out of memory"):
        list(worker(for_ever).run(pack))

    all_ended = Script([(0, told(first, second)), (1, SHORT)])
    assert len(list(worker(all_ended).run(pack))) == 1


def test_a_rank_that_never_answers_is_named(worker: Callable[[Script], GangWorker]) -> None:
    class Half(Script):
        def send(self, text: str, rank: int | None = None) -> None:
            super().send(text, rank)
            self._next = [(0, message) for rank, message in self._next if rank == 0]

    with pytest.raises(GangError, match=r"^rank 1 of 2, at its start: it hangs: no word of it in 0.2 s$"):
        list(worker(Half()).run(ganged_pack()))


def test_a_rank_that_nccl_ended_has_only_waited(worker: Callable[[Script], GangWorker]) -> None:
    words = "[Rank 0] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=5)\nkilled by SIGABRT"
    script = Script([(1, say.At("step 7")), (0, say.At("step 7")), (0, None)], words=words)
    with pytest.raises(GangError, match=r"^rank 1 of 2, at step 7: it hangs: .*killed by SIGABRT\)$"):
        list(worker(script).run(ganged_pack()))


def test_a_device_that_nobody_has_named_is_the_cpu_without_gpus(worker: Callable[[Script], GangWorker]) -> None:
    script, pack = Script(done(), done(), done()), ganged_pack()
    one = worker(script)
    for device, gpus in (("auto", 0), ("cpu", 0), ("auto", 2)):
        list(one.run(replace(pack, setup=replace(pack.setup, device=device, gpus=gpus))))
    assert [Pack.from_json(run.pack).setup.device for run in script.ran] == ["cpu", "cpu", "cuda"]
    assert script.started == 2


def test_an_error_just_before_the_time_to_answer_is_over(
    worker: Callable[[Script], GangWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Late(Script):
        def send(self, text: str, rank: int | None = None) -> None:
            self._next = [(1, say.Ready()), (0, Trouble(say.RAISED, "ImportError", "no torch here"))]

    makes = worker(Late())
    monkeypatch.setattr(supervisor, "BETTER_S", 0.4)  # beyond START_S
    with pytest.raises(GangError, match="no torch here"):
        list(makes.run(ganged_pack()))


@pytest.mark.parametrize("seconds", ["soon", "0", "-1", "nan", "inf"])
def test_a_time_to_wait_that_is_none(
    seconds: str, worker: Callable[[Script], GangWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(supervisor.TIMEOUT, seconds)
    with pytest.raises(ApetError, match=f"APET_GANG_TIMEOUT_S={seconds}: give seconds, 1 or more"):
        list(worker(Script(done())).run(ganged_pack()))
    monkeypatch.setenv(supervisor.TIMEOUT, "")
    list(worker(Script(done())).run(ganged_pack()))
