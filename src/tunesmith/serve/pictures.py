"""Pictures of a request: they come with it, as data; nothing is fetched for a client."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from tunesmith.serve.refusal import Refusal
from tunesmith.types import Media

PLACE = "<image>"
"""What stands in a text where a picture belongs."""
_DATA = re.compile(r"data:image/[\w.+-]+;base64,", re.ASCII)
_OTHER = ("input_audio", "file", "video_url", "input_image")


def taken_out(
    messages: list[dict[str, Any]], *, sees: bool, most: int
) -> tuple[list[dict[str, Any]], tuple[Media, ...]]:
    """Messages with a place for each picture, and the pictures in that order.

    Args:
        messages: as a client sends them.
        sees: whether the model takes pictures.
        most: pictures of a request.

    Raises:
        Refusal: a picture for a model that reads, one that is not data, too many; other media.
    """
    found: list[Media] = []
    out = []
    for number, message in enumerate(messages):
        content, place = message.get("content"), f"messages[{number}].content"
        if not isinstance(content, list):
            out.append(message)
            continue
        parts = [_part(part, f"{place}[{at}]", found, sees=sees) for at, part in enumerate(content)]
        out.append({**message, "content": parts})
    if len(found) > most:
        raise Refusal(f"{len(found)} pictures, at most {most} are taken here", "messages")
    if found:
        _refuse_places(messages)
    return out, tuple(found)


def _part(part: Any, place: str, found: list[Media], *, sees: bool) -> Any:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in _OTHER or (kind == "image_url" and not sees):
        told = "this model takes text and pictures" if sees else "this model reads text alone"
        raise Refusal(f"{place}: {told}", place)
    if kind != "image_url":
        return part
    said = part.get("image_url")
    url = said.get("url") if isinstance(said, dict) else said
    start = _DATA.match(url) if isinstance(url, str) else None
    if start is None or not isinstance(url, str):
        need = "a picture is data:image/...;base64,...; nothing is fetched from an address"
        raise Refusal(f"{place}: {need}", place)
    try:
        found.append(Media("image", base64.b64decode(url[start.end() :], validate=True)))
    except (binascii.Error, ValueError):
        raise Refusal(f"{place}: this is no base64", place) from None
    return {"type": "text", "text": PLACE}


def _refuse_places(messages: list[dict[str, Any]]) -> None:
    """Words of a client that would pass for the place of a picture."""
    for number, message in enumerate(messages):
        content = message.get("content")
        texts = content if isinstance(content, list) else [{"text": content}]
        for part in texts:
            text = part.get("text") if isinstance(part, dict) else part
            if isinstance(text, str) and PLACE in text:
                place = f"messages[{number}].content"
                raise Refusal(f"{place}: {PLACE} beside pictures; send parts instead", place)
