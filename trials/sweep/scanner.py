"""Parsers of YAML 1.2 that take tabs where it allows them: at a line's end, before a comment, after a key's colon.

ruamel.yaml's scanners take a tab for an error wherever it stands outside of brackets. In the indentation it is one.
Brackets inside each other cost them the square of their number, so that too many are refused at once.
"""

from __future__ import annotations

from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.scanner import RoundTripScanner, Scanner, ScannerError

MOST_LEVELS = 40  # of lists and mappings inside each other; a sweep needs six
_ENDS = "\0\r\n\x85\u2028\u2029#"  # of a line, of the text; or the start of a comment


def parser(kind: str) -> YAML:
    """A YAML 1.2 parser: ``safe`` for values, ``rt`` to change a text and keep its comments."""
    yaml = YAML(typ=kind, pure=True)
    yaml.Scanner = _RoundTrip if kind == "rt" else _Safe
    return yaml


class _Tabs:
    """Passes over tabs that separate, before a scanner looks for the next token."""

    reader: Any
    flow_level: int
    allow_simple_key: bool

    def scan_to_next_token(self) -> Any:
        """A comment where the scanner keeps them, else None: the next token begins here."""
        if self.flow_level > MOST_LEVELS:
            raise ScannerError(None, None, "nested too deeply", self.reader.get_mark())
        while True:
            comment = super().scan_to_next_token()  # type: ignore[misc]  # a scanner's, which this is mixed into
            if comment is not None or not self._pass_over():
                return comment

    def _pass_over(self) -> bool:
        reader = self.reader
        if self.flow_level or reader.peek() != "\t":
            return False
        length = 1
        while reader.peek(length) in " \t":
            length += 1
        if reader.peek(length) not in _ENDS:
            before = reader.buffer[reader.pointer - reader.column : reader.pointer]
            if not before.strip():
                return False  # an indentation: the scanner refuses it
            self.allow_simple_key = False  # what follows a tab may not begin a block
        reader.forward(length)
        return True


class _Safe(_Tabs, Scanner):
    pass


class _RoundTrip(_Tabs, RoundTripScanner):
    pass
