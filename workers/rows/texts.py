"""Rows become tokens: prompts, targets, and a cut that shortens the longest text and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trials.errors import ApetError
from trials.tasks.spec import Task

_CHUNK = 2000  # rows tokenised at once: bounds the memory of offset mappings
_TRIES = 20  # a cut text may come out a token or two longer than it was as a part; one or two tries are usual


@dataclass(frozen=True)
class Tokens:
    """The input of one row. ``types`` (0 first, 1 second text) only where BERT reads a pair."""

    ids: list[int]
    types: list[int] | None = None


@dataclass(frozen=True)
class Template:
    """How the text columns of a task become the input of one family.

    Args:
        task: whose columns.
        family: bert, bloom or t5.
        head: an encoder's; ``verbalizer`` reads the prompt, other heads the text, or the pair of texts.
        tokenizer: the family's.
        max_length: tokens, special ones included.
    """

    task: Task
    family: str
    head: str | None
    tokenizer: Any
    max_length: int

    @property
    def plain(self) -> bool:
        """Whether the texts stand alone, with no prompt."""
        return self.family == "bert" and self.head != "verbalizer"

    def render(self, fields: Sequence[str]) -> tuple[str, ...]:
        """The text, or the pair of texts, of one row."""
        if self.plain:
            return tuple(fields)
        values = dict(zip(self.task.columns, fields, strict=True))
        return (self.task.prompt[self.family].format(**values, mask=self.tokenizer.mask_token),)

    def encode(self, rows: Sequence[tuple[str, ...]]) -> tuple[list[Tokens], set[int]]:
        """The inputs of some rows, and which of them were cut.

        Raises:
            ApetError: ``max_length`` has no room beside the prompt.
        """
        tokens: list[Tokens] = []
        truncated: set[int] = set()
        for start in range(0, len(rows), _CHUNK):
            fields = [tuple(_safe(self.tokenizer, text) for text in row) for row in rows[start : start + _CHUNK]]
            chunk = self._tokenise(fields)
            long = [i for i, t in enumerate(chunk) if len(t.ids) > self.max_length]
            truncated.update(start + i for i in long)
            for i, cut in zip(long, self._shorten([fields[i] for i in long]), strict=True):
                chunk[i] = cut
            tokens += chunk
        return tokens, truncated

    def _tokenise(self, rows: Sequence[Sequence[str]]) -> list[Tokens]:
        if not rows:
            return []
        rendered = [self.render(fields) for fields in rows]
        pairs = {"text_pair": [r[1] for r in rendered]} if len(rendered[0]) == 2 else {}
        out = self.tokenizer([r[0] for r in rendered], **pairs, return_token_type_ids=bool(pairs), verbose=False)
        types = out["token_type_ids"] if pairs else [None] * len(rows)
        return [Tokens(ids, t) for ids, t in zip(out["input_ids"], types, strict=True)]

    def _shorten(self, rows: list[tuple[str, ...]]) -> list[Tokens]:
        """Cut the longest text of every row, from its end, until the whole fits."""
        done: dict[int, Tokens] = {}
        starts = self._starts(rows)  # of every token of every text, in characters
        keep = [[len(field) for field in row] for row in starts]  # tokens left of every text
        cut = list(rows)
        for _ in range(_TRIES):
            order = [i for i in range(len(rows)) if i not in done]
            for i, tokens in zip(order, self._tokenise([cut[i] for i in order]), strict=True):
                excess = len(tokens.ids) - self.max_length
                if excess <= 0:
                    done[i] = tokens
                else:
                    keep[i] = _less(keep[i], excess)
                    cut[i] = tuple(map(_head, rows[i], starts[i], keep[i]))
            if len(done) == len(rows):
                return [done[i] for i in range(len(rows))]
        raise ApetError(
            f"task {self.task.name}, {self.family}: max_input_length {self.max_length} leaves no room for text beside "
            f"the prompt; raise max_input_length in trials/tasks/{self.task.name}.py (no key of a sweep file sets it)"
        )

    def _starts(self, rows: Sequence[tuple[str, ...]]) -> list[list[list[int]]]:
        """Per row and text, the character at which each token starts."""
        columns = []
        for texts in zip(*rows, strict=True):
            out = self.tokenizer(list(texts), add_special_tokens=False, return_offsets_mapping=True, verbose=False)
            columns.append([[start for start, _ in offsets] for offsets in out["offset_mapping"]])
        return [list(row) for row in zip(*columns, strict=True)]


def target_tokens(
    texts: Sequence[str], family: str, tokenizer: Any, max_length: int
) -> tuple[list[list[int]], set[int]]:
    """What a family is to generate for some texts, and which of them were cut.

    Args:
        texts: the targets.
        family: bloom, whose text follows its prompt after a space, or t5, whose tokenizer puts one there.
        tokenizer: the family's.
        max_length: tokens; a text that fits is closed by EOS beyond them, a text that is cut goes on, so it isn't.
    """
    prefix = " " if family == "bloom" else ""
    given = [prefix + _safe(tokenizer, text).strip() for text in texts]
    ids: list[list[int]] = tokenizer(given, add_special_tokens=False, verbose=False)["input_ids"] if given else []
    cut = {i for i, row in enumerate(ids) if len(row) > max_length}
    return [row[:max_length] if i in cut else [*row, tokenizer.eos_token_id] for i, row in enumerate(ids)], cut


def _safe(tokenizer: Any, text: str) -> str:
    """A text that can't spell a special token, such as another mask."""
    for special in tokenizer.all_special_tokens:
        text = text.replace(special, f"{special[0]} {special[1:]}")
    return text


def _less(keep: Sequence[int], excess: int) -> list[int]:
    """Take ``excess`` tokens off, one after another from the text that is longest then."""
    left = list(keep)
    for _ in range(excess):
        longest = max(range(len(left)), key=left.__getitem__)
        left[longest] = max(0, left[longest] - 1)
    return left


def _head(text: str, starts: Sequence[int], n: int) -> str:
    """The text before its token ``n``, whole where it has no such token."""
    return text if n == len(starts) else text[: starts[n]].rstrip()
