"""What a task is: where its rows come from, how they become text, and what answers it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task of the study; a module of ``trials/tasks`` holds one as ``TASK``.

    A task either has ``labels`` (classification: one word each, and a class per row), or a text as its target, which
    the families that generate write out: then ``labels``, ``words`` and ``unified`` are empty.

    Args:
        name: the file's name.
        category: ``SA`` (sentiment), ``NLI`` (inference), ``PI`` (paraphrase), ``QA``, ``SUM`` (summarisation).
        hub_id: data set on the hub.
        hub_config: its configuration there, None where it has one only.
        revision: the hub revision to read.
        columns: text columns, in reading order.
        answer_column: the column of the class; or of the target: a text, or a list of texts that are all right, of
            which the first is trained on and the best counts in scores.
        labels: names of the classes, in the order of their ids on the hub.
        words: per family one word a class, in class order; BLOOM's with the leading space it needs.
        prompt: per family that takes the task a template with ``{column}`` per text column; BERT's also holds
            ``{mask}`` (verbalizer), and its other heads read the columns alone.
        metric: what a score is, a name in ``workers/pack/metrics.py``.
        secondary: further metrics of a row, by name (``f1``).
        max_input_length: tokens, the prompt and special tokens included.
        max_generated_length: tokens of an answer, EOS excluded.
        row_tokens: mean tokens of a row, prompt and answer included, cut at these limits, by which ``apet plan``
            estimates time, and nothing else is decided; the study's: over 500 rows of each, by BERT's tokenizer.
        target_tokens: of these the answer's, its end included; a label is one word.
        unified: per class 0 or 1, the label in the set that all classification tasks share (transfer).
        splits: the hub's name of ``train``, ``validation`` and ``test``; None where it has no labelled one.
        source: who made it.
        example: one row, with the hub's column names.
    """

    name: str
    category: str
    hub_id: str
    hub_config: str | None
    revision: str
    columns: tuple[str, ...]
    answer_column: str
    labels: tuple[str, ...] = ()
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    prompt: Mapping[str, str]
    metric: str
    secondary: tuple[str, ...]
    max_input_length: int
    max_generated_length: int
    row_tokens: int
    target_tokens: int = 2
    unified: tuple[int, ...] = ()
    splits: Mapping[str, str | None]
    source: str
    example: Mapping[str, Any]

    @property
    def chance(self) -> float:
        """Accuracy of a uniform guess over the labels (encoders; whoever generates text has 0)."""
        return 1 / len(self.labels) if self.labels else 0.0

    @property
    def needed(self) -> tuple[str, ...]:
        """The columns that its data must have, the answer's last."""
        return (*self.columns, self.answer_column)
