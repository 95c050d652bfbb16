"""What a person sees of a run: in a terminal, in a pipe, and how long it will take."""

from __future__ import annotations

import io

import pytest
from fake_worker import todo, trial

from orchestrator.driver.display.display import display
from orchestrator.driver.display.lines import Lines
from orchestrator.driver.display.quiet import Quiet
from orchestrator.driver.display.screen import Screen
from orchestrator.driver.display.sentences import ended_line
from orchestrator.driver.display.tally import Tally
from orchestrator.driver.summary import Summary
from orchestrator.planning.packing import PlannedPack, Todo, cost
from orchestrator.text import duration, trial_name
from trials.trial import Method
from workers.pack.progress import Ended, Progress


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def tally(*todos: Todo, workers: int = 1, before: int = 0) -> tuple[Tally, Clock]:
    clock = Clock()
    return Tally(todos, before, workers, clock), clock


def end(made: Tally, one: Todo, wall_s: float, load_s: float = 0.0, state: str = "completed") -> Ended:
    ended = Ended(one.trial.trial_id, state, 0.75, None, wall_s, load_s, "a")
    made.trial_ended(one, ended)
    return ended


def test_time_left_goes_by_work_and_not_by_number() -> None:
    small, large = [todo(i, steps=100) for i in range(4)], [todo(i, steps=1_000) for i in range(4, 8)]
    made, _ = tally(*small, *large)
    assert made.seconds_left is None, "nothing is known before a trial has ended"
    end(made, small[0], 10.0)
    by_number = 7 * 10.0
    assert made.seconds_left is not None
    assert made.seconds_left > 3 * by_number
    for one in (*small[1:], *large):
        end(made, one, 10.0 if one in small else 95.0)
    assert made.seconds_left == 0


def test_what_comes_later_is_counted_too() -> None:
    first, later = todo(0, steps=100), todo(1, steps=100)
    made, _ = tally(first)
    end(made, first, 10.0)
    assert (made.done, made.total, made.seconds_left) == (1, 1, 0)
    made.add([later])
    assert (made.done, made.total, made.seconds_left) == (1, 2, 10.0)


def test_loading_a_backbone_says_nothing_of_the_next_trial() -> None:
    made, _ = tally(*(todo(i) for i in range(3)))
    end(made, todo(0), wall_s=70.0, load_s=60.0)
    assert made.seconds_left == pytest.approx(20.0)


def test_each_backbone_has_its_own_rate() -> None:
    made, _ = tally(todo(0), todo(1), todo(0, "tiny-t5"), todo(1, "tiny-t5"))
    end(made, todo(0), 3.0)
    end(made, todo(0, "tiny-t5"), 50.0)
    assert made.seconds_left == pytest.approx(53.0)


def test_workers_share_what_is_left_and_running_packs_count_in_part() -> None:
    made, clock = tally(*(todo(i, steps=10) for i in range(9)), workers=2)
    end(made, todo(0, steps=10), 10.0)
    assert made.seconds_left == pytest.approx(80 / 2)
    pack = PlannedPack((todo(1, steps=10),)).pack("p")
    made.started(pack)
    clock.seconds = 6.0
    made.reported(Progress("p", 6, 10, {todo(1).trial.trial_id: 0.5}))
    assert made.seconds_left == pytest.approx((80 - 6) / 2, rel=0.01)
    made.over("p")
    assert made.rows == {}


def test_a_failed_trial_is_no_measure_of_speed() -> None:
    made, _ = tally(todo(0), todo(1))
    end(made, todo(0), 0.1, state="failed")
    assert made.seconds_left is None


def test_a_pipe_gets_one_plain_line_per_finished_trial() -> None:
    stream = io.StringIO()
    made, _ = tally(todo(0), todo(1), before=5)
    show = display(stream=stream)
    assert isinstance(show, Lines)
    show.start(made)
    show.ended(trial(0), end(made, todo(0), 12.0))
    show.ended(trial(1), end(made, todo(1), 12.0, state="diverged"))
    show.close()
    first, second, third = stream.getvalue().splitlines()
    assert first == "2 trials to run, 5 done before, 1 pack at a time"
    described = f"{trial(0).trial_id[:8]} tiny-bert rotten_tomatoes bitfit s0 0.001"
    assert second == f"[1/2] {described}: completed, test 0.750, 12 s, 12 s left"
    assert third.startswith("[2/2]")
    assert "diverged" in third
    assert "\x1b" not in stream.getvalue()


def test_a_terminal_gets_a_live_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    text = on_a_terminal()
    for part in ("1/3", "1 completed", "1 running", "step 1/2", "validation 0.625", "latest", "test 0.750", "left"):
        assert part in text, text
    assert "\x1b[3" in text, "colours in a terminal"


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    text = on_a_terminal()
    assert "1 completed" in text
    assert "\x1b[3" not in text


def on_a_terminal() -> str:
    stream = Terminal()
    made, clock = tally(todo(0), todo(1), todo(2))
    assert isinstance(display(stream=stream), Screen)
    show = Screen(stream, width=110)
    show.start(made)
    clock.seconds = 10.0
    show.ended(trial(0), end(made, todo(0), 10.0))
    made.started(PlannedPack((todo(1),)).pack("p"))
    made.reported(Progress("p", 1, 2, {trial(1).trial_id: 0.625}))
    show.close()
    return stream.getvalue()


def test_a_pack_is_a_line_of_those_of_its_trials_that_still_train(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    todos = [todo(0, learning_rate=0.1 * n) for n in range(1, 5)]
    ids = [one.trial.trial_id for one in todos]
    made, clock = tally(*todos)
    show = Screen(Terminal(), width=110)
    show.start(made)
    made.started(PlannedPack(tuple(todos)).pack("p"))
    clock.seconds = 4.0
    made.reported(Progress("p", 1, 2, dict(zip(ids, (0.9, 0.5, 0.625, 0.75), strict=True)), ()))
    assert (made.running, made.rows["p"].weight) == (4, pytest.approx(4 * cost(todos[0].trial)))
    made.reported(Progress("p", 1, 2, {}, (end(made, todos[0], 1.0),)))
    assert made.running == 3
    assert made.rows["p"].weight == pytest.approx(3 * cost(todos[0].trial)), "what ended is not counted twice"
    show.close()
    text = show.console.file.getvalue()  # type: ignore[attr-defined]  # a StringIO
    for part in (f"{ids[1][:8]} ", "s0 0.2 and 2 more", "step 1/2", "validation 0.500 to 0.750", "3 running"):
        assert part in text, text
    assert ids[0][:8] not in text.rpartition("running")[2].partition("latest")[0]


def test_the_display_survives_many_packs_and_no_trial() -> None:
    show = Screen(Terminal(), width=80)
    made, _ = tally(*(todo(i) for i in range(20)), workers=20)
    for i in range(20):
        made.started(PlannedPack((todo(i),)).pack(f"p{i}"))
    show.start(made)
    show.close()
    assert "and 12 more packs" in show.console.file.getvalue()  # type: ignore[attr-defined]  # a StringIO


def test_quiet_says_only_what_went_wrong() -> None:
    stream = io.StringIO()
    made, _ = tally(todo(0), todo(1))
    show = display(quiet=True, stream=stream)
    assert type(show) is Quiet
    show.start(made)
    show.ended(trial(0), end(made, todo(0), 1.0))
    assert stream.getvalue() == ""
    show.ended(trial(1), Ended(trial(1).trial_id, "failed", None, "out of memory"))
    assert "failed: out of memory" in stream.getvalue()


def test_descriptions() -> None:
    apet = Method("apet", {"add": 1}, {"add": ("q",)}, "discrete", 4096)
    assert (
        trial_name(trial(2, method=apet, position_seed=1)) == "tiny-bert rotten_tomatoes apet discrete 4096 p1 s2 0.001"
    )
    assert (
        trial_name(trial(method=Method("lora", rank=8, alpha=16.0))) == "tiny-bert rotten_tomatoes lora rank 8 s0 0.001"
    )
    long = ended_line(trial(), Ended("x", "failed", None, "first\nsecond " + 500 * "x"))
    assert "first second" in long
    assert len(long) < 300


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0.4 s"), (9.96, "10 s"), (12.3, "12 s"), (119, "119 s"), (600, "10 min"), (11_100, "3.1 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_summary_says_what_is_left() -> None:
    assert str(Summary(4, 4)) == "nothing to do: all 4 trials have their rows"
    assert str(Summary(0, 0)).startswith("nothing to do")
    stopped = Summary(10, 3, completed=2, diverged=1, failed=0, wall_s=100.0, stopped=2)
    assert stopped.remaining == 4
    assert str(stopped) == (
        "stopped: 2 completed, 1 diverged, 0 failed in 100 s; 3 done before; "
        "4 remain: run the same command again to go on"
    )
