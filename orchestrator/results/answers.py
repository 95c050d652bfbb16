"""Some of what a trial answered to the test rows, right and wrong, beside the texts where they are at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.text import as_text, table
from trials.errors import ApetError

if TYPE_CHECKING:
    from orchestrator.results.show import Shown
    from trials.store.store import Store

SHOWN = 5  # of each, right and wrong
_WIDTH = 60  # characters of a text


@dataclass(frozen=True)
class Answer:
    """One answer to one test row.

    Args:
        task: whose row it is: the trial's own, or another that it is scored on.
        row: its place in the split's fixed order, from 0.
        score: 0 or 1, or the row's own F1 or ROUGE-L.
        answer: the label's word, or the text as generated.
        right: what is right, a label's word or texts; None where the row isn't at hand.
        text: the row's texts; None likewise.
    """

    task: str
    row: int
    score: float
    answer: str
    right: str | None = None
    text: str | None = None


def answers(shown: Shown, store: Store) -> list[Answer]:
    """What the visible row of a trial answered, by task and row; the texts of its own task where they are on disk.

    Raises:
        ApetError: the trial hasn't run, or its row has no answers.
    """
    trial_id = shown.trial.trial_id
    if shown.row is None:
        raise ApetError(f"trial {trial_id} has not run, so that it has no answers; `apet run` runs it")
    given = store.answers_of(shown.row["attempt_id"]).to_pylist()
    if not given:
        raise ApetError(
            f"trial {trial_id}: its attempt {shown.row['attempt_id']} has no answers; it has failed, was written "
            "before schema version 4, or was copied without the folder answers"
        )
    right, texts = _rows(shown)
    own = shown.trial.task.name
    known = len(texts) == shown.row["test_rows"]
    found = [
        Answer(
            one["task"],
            one["row"],
            one["score"],
            one["answer"],
            right[one["row"]] if known and one["task"] == own else None,
            texts[one["row"]] if known and one["task"] == own else None,
        )
        for one in given
    ]
    return sorted(found, key=lambda one: (one.task != own, one.task, one.row))


def text(given: Sequence[Answer], shown: Shown) -> str:
    """A few of each task for a person: first right ones, then wrong ones, each in the order of rows."""
    parts = []
    for task in dict.fromkeys(one.task for one in given):
        mine = [one for one in given if one.task == task]
        good = [one for one in mine if one.score > 0][:SHOWN]
        bad = [one for one in mine if one.score == 0][:SHOWN]
        wrong = sum(one.score == 0 for one in mine)
        kind = "right" if all(one.score in (0, 1) for one in mine) else "right or in part"
        head = f"{task}: {len(mine)} answers, {len(mine) - wrong} {kind}, {wrong} wrong"
        texts = any(one.text is not None for one in mine)
        names = ["row", "score", "answer", *(["right", "text"] if texts else [])]
        rows = [[one.row, as_text(one.score), _short(one.answer), *_beside(one, texts)] for one in (*good, *bad)]
        parts += [head, table(names, rows), ""]
    return "\n".join([*parts, f"all of them: {_sql(shown)}"])


def _beside(one: Answer, texts: bool) -> list[Any]:
    return [_short(one.right or ""), _short(one.text or "")] if texts else []


def _sql(shown: Shown) -> str:
    attempt = shown.row and shown.row["attempt_id"]
    return f"""apet query "select * from answers where attempt_id = '{attempt}'\""""


def _rows(shown: Shown) -> tuple[list[str], list[str]]:
    """Right answers and texts of the test rows, from where they are on this machine; nothing is fetched for it."""
    from trials import tasks
    from workers.rows.data import load_rows

    trial, location = shown.trial, shown.sources.data
    if shown.lost or location.startswith("hub:"):
        return [], []
    task = tasks.get(trial.task.name)
    try:
        rows = load_rows(task, trial.task, location).test
    except ApetError:
        return [], []
    words = task.words.get(trial.backbone.family, ()) if trial.labels == "own" else ("0", "1")
    right = [_right(answer, words, task.unified if trial.labels == "unified" else ()) for answer in rows.answers]
    return right, [" | ".join(texts) for texts in rows.texts]


def _right(answer: Any, words: Sequence[str], unified: Sequence[int]) -> str:
    if isinstance(answer, int):
        return words[unified[answer] if unified else answer].strip()
    return " | ".join(answer)


def _short(text: str) -> str:
    """One line, cut."""
    line = " ".join(text.split())
    return line if len(line) <= _WIDTH else f"{line[: _WIDTH - 1]}…"
