"""What displays say of a trial, a sentence each."""

from __future__ import annotations

from orchestrator.text import cut_rows, duration, trial_name
from trials import tasks
from trials.trial import Trial
from workers.pack.progress import Ended, Progress


def ended_line(trial: Trial, ended: Ended) -> str:
    """A finished trial in one line."""
    score = "" if ended.test_score is None else f", test {ended.test_score:.3f}"
    error = f": {' '.join(ended.error_message.split())[:160]}" if ended.error_message else ""
    seconds = f", {duration(ended.wall_s)}" if ended.wall_s else ""
    return f"{trial.trial_id[:8]} {trial_name(trial)}: {ended.state}{error}{score}{seconds}"


def cut_line(trial: Trial, progress: Progress) -> str:
    """Rows that were cut, and the lengths that cut them."""
    limits = f"{trial.training.max_input_length} tokens"
    if not tasks.get(trial.task.name).labels:
        limits += f" of input or {trial.training.max_generated_length} of answer"
    cut = cut_rows(progress.cut_rows, progress.rows, bool(trial.evaluate_on))
    return f"{trial.task.name} on {trial.backbone.name}: cut rows {cut}, longer than {limits}"
