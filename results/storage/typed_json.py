"""JSON of a declared kind, checked when it is read: it may be a stranger's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from farreach.results.storage.files import DamagedError

Count = Annotated[int, Field(ge=0, lt=2**63)]


def parse_typed(text: bytes, path: Path, kind: type[Any]) -> dict[str, Any]:
    """Return what a text is; raise `DamagedError`, of the file that it is from, where it is not of a kind.

    A number that is written as a text is none; fields that the kind does not declare are left as they are.
    """
    try:
        content: dict[str, Any] = TypeAdapter(kind).validate_json(text, strict=True, extra="allow")
    except ValidationError as error:
        raise DamagedError(path, describe_fault(error)) from error
    return content


def describe_fault(error: ValidationError) -> str:
    """Return the first thing that is wrong with a value, and where, in a line."""
    fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return ": ".join(part for part in (".".join(map(str, fault["loc"])), fault["msg"]) if part)
