"""Errors in OpenAI's shape, each with the parameter that it is about."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException

from tunesmith.errors import Error


class Refusal(HTTPException):
    """A request that gets an error for an answer.

    Args:
        message: what was wrong and what would be right.
        param: the parameter that it is about.
        status: of HTTP.
        kind: OpenAI's type of the error.
        headers: of the response.
    """

    def __init__(
        self,
        message: str,
        param: str | None = None,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, dict(headers or {}))
        self.param, self.status, self.kind = param, status, kind

    @classmethod
    def of(cls, error: Error, param: str | None = None) -> Refusal:
        """One of ours about something that a client sent."""
        return cls(error.line(), param or str(error.where))

    def body(self) -> dict[str, Any]:
        """What the client gets."""
        return {
            "error": {
                "message": self.detail,
                "type": self.kind,
                "param": self.param,
                "code": _CODES.get(self.status, "invalid_value"),
            }
        }


_CODES = {
    401: "invalid_api_key",
    404: "not_found",
    405: "method_not_allowed",
    413: "request_too_large",
    429: "queue_full",
    500: "internal_error",
    503: "unavailable",
}


def of_validation(errors: list[Any], known: Mapping[str, list[str]]) -> Refusal:
    """The first thing that is wrong with a body.

    Args:
        errors: pydantic's.
        known: fields of each body by name of the path.
    """
    first = errors[0]
    place = [str(part) for part in first["loc"] if part != "body"]
    path = "".join(f"[{p}]" if p.isdigit() else f".{p}" for p in _named(place)).lstrip(".")
    if first["type"] == "json_invalid":
        return Refusal(f"the body is no JSON: {first['ctx']['error']}")
    if first["type"] == "extra_forbidden":
        fields = [name for names in known.values() for name in names]
        near = difflib.get_close_matches(place[-1], fields, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return Refusal(f"{path} is no parameter that is honoured here{hint}", path)
    return Refusal(f"{path or 'the body'}: {first['msg']}", path or None)


def _named(place: list[str]) -> list[str]:
    """Without the names that pydantic gives to the members of a union."""
    return [p for p in place if p.isidentifier() or p.isdigit()]
