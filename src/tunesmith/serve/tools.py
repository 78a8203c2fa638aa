"""Are tools what a model can be told: functions with names of their own and JSON schemas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith.serve.refusal import Refusal

_TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")


def look_at(tools: Sequence[Mapping[str, Any]]) -> list[str]:
    """Their names.

    Raises:
        Refusal: something of them is no tool; it names the first that is not.
    """
    names: list[str] = []
    for number, tool in enumerate(tools):
        place = f"tools[{number}]"
        function = tool.get("function")
        if tool.get("type") != "function" or not isinstance(function, dict):
            raise Refusal(f'{place}: an object with "type": "function" and "function"', place)
        name = function.get("name")
        if not isinstance(name, str) or not name:
            raise Refusal(f"{place}.function.name: a text", f"{place}.function.name")
        if name in names:
            raise Refusal(f"{place}.function.name: {name} is there twice", f"{place}.function.name")
        names.append(name)
        if function.get("parameters") is not None:
            _look_at_schema(function["parameters"], f"{place}.function.parameters")
    return names


def _look_at_schema(schema: Any, place: str) -> None:
    """Refuse what no reader of JSON schemas takes; words that it does not know are free."""
    if isinstance(schema, bool) and not place.endswith("parameters"):
        return
    if not isinstance(schema, dict):
        raise Refusal(f"{place}: a JSON schema is an object", place)
    kinds = schema.get("type", [])
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if any(kind not in _TYPES for kind in kinds):
        raise Refusal(f"{place}.type: one of {', '.join(_TYPES)}", f"{place}.type")
    required = schema.get("required", [])
    if not isinstance(required, list) or any(not isinstance(name, str) for name in required):
        raise Refusal(f"{place}.required: a list of names", f"{place}.required")
    inner = schema.get("properties", {})
    if not isinstance(inner, dict):
        raise Refusal(f"{place}.properties: an object", f"{place}.properties")
    for name, each in inner.items():
        _look_at_schema(each, f"{place}.properties.{name}")
    if "items" in schema and not isinstance(schema["items"], list):
        _look_at_schema(schema["items"], f"{place}.items")
