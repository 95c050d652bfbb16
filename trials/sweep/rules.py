"""How the models of a sweep file say what is wrong: rules in our own words instead of pydantic's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pydantic import BaseModel, Discriminator, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


class Broken:
    """Stands in a list for an item that has been reported, so that its neighbours are still checked."""


BROKEN: Any = Broken()


class Says:
    """Annotation: what a value must be, in one short rule, with the choices where there are any.

    Args:
        rule: completes "VALUE, must be …".
        choices: valid names, shown with the nearest match.
    """

    def __init__(self, rule: str, choices: tuple[str, ...] = ()) -> None:
        self.rule, self.choices = rule, choices

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Wrap the type's own schema, replacing its errors by the rule."""
        return self.wrapped(handler(source))

    def wrapped(self, schema: CoreSchema) -> CoreSchema:
        """A schema with its errors replaced by the rule."""

        def check(value: Any, validate: core_schema.ValidatorFunctionWrapHandler) -> Any:
            if value is BROKEN:
                return value
            try:
                return validate(value)
            except ValidationError:
                raise PydanticCustomError(
                    "apet", "rule", {"rule": self.rule, "choices": " ".join(self.choices)}
                ) from None

        return core_schema.no_info_wrap_validator_function(check, schema)


class Choice:
    """Annotation of text: one of some names, which are a table's and so not known to a type checker.

    Args:
        names: the valid ones, in the order in which a message lists them.
        note: what the message says behind them.
    """

    def __init__(self, names: Iterable[str], note: str = "") -> None:
        self.names, self.note = tuple(names), note

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """In place of the type's own schema: the names, and the rule that lists them."""
        return Says(listed(self.names) + self.note, self.names).wrapped(core_schema.literal_schema(list(self.names)))


def listed(names: Sequence[str]) -> str:
    """``a, b or c``."""
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


class Item:
    """Annotation of a list's structured items: lets :data:`BROKEN` through."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Wrap the type's own schema."""

        def check(value: Any, validate: core_schema.ValidatorFunctionWrapHandler) -> Any:
            return value if value is BROKEN else validate(value)

        return core_schema.no_info_wrap_validator_function(check, handler(source))


def one_of(rule: str, tag: Callable[[Any], str | None], key: str = "", choices: tuple[str, ...] = ()) -> Discriminator:
    """Chooses a variant by ``tag``; tags look like ``<list>``, so that they can be taken out of error paths."""
    context: dict[str, int | str | float] = {"rule": rule, "choices": " ".join(choices), "key": key}
    return Discriminator(tag, custom_error_type="apet", custom_error_message="rule", custom_error_context=context)


def by_type(value: Any) -> str | None:
    """Tag by the type of the value."""
    for kind, tag in ((str, "<name>"), (dict, "<mapping>"), (list, "<list>"), (BaseModel, "<mapping>")):
        if isinstance(value, kind):
            return tag
    return "<number>" if isinstance(value, int) and not isinstance(value, bool) else None


def by_counts(value: Any) -> str | None:
    """Tag of a variant of `counts`."""
    if isinstance(value, dict):
        return "<like>" if "like" in value else "<range>"
    return "<list>" if isinstance(value, list) else None


def by_method(value: Any) -> str | None:
    """Tag of a method: its name."""
    if isinstance(value, dict):
        return f"<{value.get('method')}>"
    return "<name>" if isinstance(value, str) else None
