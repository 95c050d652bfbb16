"""How the rows of a task become tokens for one backbone: prompts, label words, targets, lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from trials.canonical import canonical
from trials.errors import ApetError
from trials.sources.checks import Answer
from trials.tasks.spec import Task
from trials.trial import TEXT_VERSION
from workers.backbone import tokenizer as tokenizers
from workers.backbone.heads import label_word_ids, label_words
from workers.rows.data import Rows
from workers.rows.encoded import Encoded, Ragged
from workers.rows.texts import Template, target_tokens

VERSION = 2  # of what is made of files: raise it when rows or tokens change, and no cached ones are read


@dataclass(frozen=True, eq=False)
class Encoding:
    """All that decides which tokens a row becomes, but the row.

    Args:
        task: prompts, label words, metrics.
        family: bert, bloom or t5.
        tokenizer: of the backbone.
        labels: own or unified.
        head: encoders: verbalizer, frozen or trained.
        max_input_length: tokens of an input, the prompt included, a target not.
        max_generated_length: tokens of an answer, EOS excluded.
    """

    task: Task
    family: str
    tokenizer: Any
    labels: str
    head: str | None
    max_input_length: int
    max_generated_length: int

    @property
    def template(self) -> Template:
        """Turns texts into inputs."""
        return Template(self.task, self.family, self.head, self.tokenizer, self.max_input_length)

    @property
    def label_texts(self) -> tuple[str, ...]:
        """Per label the text that a generated answer must be; none where the target is a text."""
        return label_words(self.task, self.labels, self.family) if self.task.labels else ()

    @cached_property
    def key(self) -> str:
        """Canonical text of all of it: equal keys give equal tokens."""
        task, family = self.task, self.family
        words = task.words.get(family, ()) if self.labels == "own" else task.unified
        texts = [task.name, task.prompt.get(family), task.columns, task.answer_column, task.labels, words]
        settings = [self.labels, self.template.plain, self.max_input_length, self.max_generated_length]
        return canonical([VERSION, TEXT_VERSION, family, tokenizers.definition(self.tokenizer), texts, settings])


@dataclass(frozen=True, eq=False)
class Dataset:
    """One encoded split, and how it was encoded: decides padding, order and scores."""

    rows: Encoded
    how: Encoding

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def metric(self) -> str:
        """What a score is."""
        return self.how.task.metric

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Positions per row; BLOOM's include its target."""
        own = self.rows.inputs.lengths
        return own + self.rows.targets.lengths if self.how.family == "bloom" else own

    @cached_property
    def order_key(self) -> str:
        """What the order of batches depends on, less train seed and batch size."""
        return f"{self.rows.digest} {tokenizers.vocabulary(self.how.tokenizer)} {self.how.max_input_length}"

    @property
    def majority(self) -> float | None:
        """Share of the most frequent label, the score of a constant answer; None where the target is a text."""
        if not self.how.task.labels:
            return None
        return float(np.bincount(np.asarray(self.rows.answers)).max() / len(self))

    @property
    def majority_right(self) -> NDArray[np.bool_] | None:
        """[rows] where that answer is right; of labels that are as frequent the first; None likewise."""
        if not self.how.task.labels:
            return None
        labels = np.asarray(self.rows.answers)
        constant: NDArray[np.bool_] = labels == np.bincount(labels).argmax()
        return constant


def encode(rows: Rows, how: Encoding) -> Encoded:
    """Tokenise the rows of one split.

    Raises:
        ApetError: a family that doesn't take the task, a label word that isn't one token, a length with no room for
            text.
    """
    task, family = how.task, how.family
    if family not in task.prompt:
        raise ApetError(
            f"task {task.name}: the family {family} does not take it, for it can't generate text; "
            f"families that do: {', '.join(task.prompt)}"
        )
    template = how.template
    tokens, cut = template.encode(rows.texts)
    answers = rows.answers if how.labels == "own" else [task.unified[cast(int, label)] for label in rows.answers]
    targets, target_cut = _targets(answers, how)
    masked = family == "bert" and not template.plain
    return Encoded(
        inputs=Ragged.of(t.ids for t in tokens),
        targets=Ragged.of(targets),
        answers=answers,
        types=Ragged.of(t.types for t in tokens if t.types is not None) if tokens and tokens[0].types else None,
        masks=np.array([t.ids.index(how.tokenizer.mask_token_id) for t in tokens], np.int32) if masked else None,
        digest=rows.digest,
        truncated=len(cut),
        truncated_in_training=len(cut | target_cut),
    )


def _targets(answers: Sequence[Answer], how: Encoding) -> tuple[list[list[int]], set[int]]:
    """Per row what is to be generated, and the rows where it was cut: the label word, or the first right text."""
    eos = how.tokenizer.eos_token_id
    if not how.task.labels:
        texts = [cast(tuple[str, ...], answer)[0] for answer in answers]
        return target_tokens(texts, how.family, how.tokenizer, how.max_generated_length)
    if how.family == "bert":
        if (
            not how.template.plain
        ):  # the verbalizer reads its words off: refuse those that aren't tokens before training
            label_word_ids(how.task, how.labels, how.family, how.tokenizer)
        return [[] for _ in answers], set()
    words = label_word_ids(how.task, how.labels, how.family, how.tokenizer)
    return [[words[cast(int, answer)], eos] for answer in answers], set()
