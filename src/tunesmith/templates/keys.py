"""What a key of a template file takes, in words: for errors and for the printed reference."""

from __future__ import annotations

from types import UnionType
from typing import Any, Literal, TypeGuard, Union, get_args, get_origin

from pydantic import BaseModel

PIECES = (
    "text, `{special: bos or eos or start}`, `{token: TEXT}`, `{round: NUMBER}`, `{later: TEXT}`, "
    "or a list of these"
)
_PLAIN = {str: "text", bool: "true or false", int: "a whole number", type(None): "null"}


def takes(annotation: Any) -> str:
    """The values that the annotation of a field admits."""
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (UnionType, Union):
        return " or ".join(takes(one) for one in arguments)
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin is tuple:
        return "a list of texts" if arguments[0] is str else PIECES
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"keys and values: {', '.join(annotation.model_fields)}"
    return takes(arguments[0])  # Annotated, with bounds that the docstring tells


def follow(model: type[BaseModel], place: list[str]) -> tuple[type[BaseModel], Any]:
    """The part that holds the last key of a place, and the annotation of that key.

    Returns:
        The model; the annotation, `None` where it has no such key.
    """
    for key in place[:-1]:
        annotation = model.model_fields[key].annotation
        inside = [a for a in (annotation, *get_args(annotation)) if _is_part(a)]
        if not inside:
            return model, annotation
        model = inside[0]
    field = model.model_fields.get(place[-1])
    return model, None if field is None else field.annotation


def _is_part(annotation: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
