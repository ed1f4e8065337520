"""A check of a value against the part of JSON Schema that ours uses."""

from __future__ import annotations

import re
from typing import Any

TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "string": (str,),
    "boolean": (bool,),
    "null": (type(None),),
    "integer": (int,),
    "number": (int, float),
}
KNOWN = {"$schema", "title", "description", "type", "required", "properties", "patternProperties", "allOf", "not"}
KNOWN |= {"if", "then", "else", "enum", "const", "pattern", "minimum", "maximum", "exclusiveMinimum"}
KNOWN |= {"exclusiveMaximum", "maxLength"}


def list_errors(value: Any, schema: dict[str, Any], where: str = "") -> list[str]:
    """Return what is wrong with a value; a keyword that this check does not know is an error of the schema."""
    assert schema.keys() <= KNOWN, schema.keys() - KNOWN
    errors = [f"{where}: {word}" for word, fits in _check_value(value, schema) if not fits]
    if isinstance(value, dict):
        errors += [f"{where}.{name} is missing" for name in schema.get("required", []) if name not in value]
        for name, one in schema.get("properties", {}).items():
            errors += list_errors(value[name], one, f"{where}.{name}") if name in value else []
        for pattern, one in schema.get("patternProperties", {}).items():
            for name in value:
                errors += list_errors(value[name], one, f"{where}.{name}") if re.search(pattern, name) else []
    for one in schema.get("allOf", []):
        errors += list_errors(value, one, where)
    if "if" in schema:
        branch = "else" if list_errors(value, schema["if"]) else "then"
        errors += list_errors(value, schema.get(branch, {}), where)
    return errors


def _check_value(value: Any, schema: dict[str, Any]) -> list[tuple[str, bool]]:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    limits = {
        "minimum": lambda limit: value >= limit,
        "maximum": lambda limit: value <= limit,
        "exclusiveMinimum": lambda limit: value > limit,
        "exclusiveMaximum": lambda limit: value < limit,
    }
    checks = [(word, fits(schema[word])) for word, fits in limits.items() if word in schema and is_number]
    if "type" in schema:
        names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        checks.append(("type", any(_is_of(value, name) for name in names)))
    if "pattern" in schema and isinstance(value, str):
        checks.append(("pattern", bool(re.search(schema["pattern"], value))))
    if "maxLength" in schema and isinstance(value, str):
        checks.append(("maxLength", len(value) <= schema["maxLength"]))
    if "not" in schema:
        checks.append(("not", bool(list_errors(value, schema["not"]))))
    return [
        *checks,
        *((word, value in schema[word]) for word in ("enum",) if word in schema),
        *((word, value == schema[word]) for word in ("const",) if word in schema),
    ]


def _is_of(value: Any, name: str) -> bool:
    return isinstance(value, TYPES[name]) and (name == "boolean" or not isinstance(value, bool))
