"""Questions about pictures: what a model that sees is asked at each of its doors.

A picture travels inside the question, at the size at which the run looks at it, so that every door
has the same one before its own processor.

Shape letters: N new tokens, V vocabulary.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tunesmith.infer.forward import Plain
from tunesmith.types import Seen

PLACE = "<image>"
"""What stands in a message where a picture is."""


class Sight(NamedTuple):
    """A conversation with pictures whose last turn is to be answered."""

    messages: list[dict[str, str]]
    """Role and content, with `PLACE` for each picture."""
    pictures: list[str]
    """PNG files in base64, in the order of their places."""
    word: str
    """What the chat template has in place of `PLACE`: the processor's token and its frame."""
    options: Mapping[str, Any] = {}
    """Arguments of the processor that the run decides."""

    def said(self) -> list[dict[str, str]]:
        """The messages as a chat template takes them."""
        return [
            turn | {"content": turn["content"].replace(PLACE, self.word)} for turn in self.messages
        ]

    def files(self) -> list[bytes]:
        """The pictures as PNG files."""
        return [base64.b64decode(picture) for picture in self.pictures]

    def opened(self) -> list[Any]:
        """The pictures as PIL has them, RGB."""
        from PIL import Image

        return [Image.open(io.BytesIO(data)).convert("RGB") for data in self.files()]


class Glance(NamedTuple):
    """An answer to a question about pictures."""

    prompt: list[int]
    """With the places of the pictures filled."""
    answer: list[int]
    """New tokens."""
    steps: Tensor
    """The logits that they were chosen from, (N, V) f32."""


Look = Callable[[Sight], tuple[list[int], Seen | None]]
"""From a question to the prompt of training and what the model takes of the pictures."""


def packed(picture: Any) -> str:
    """A PIL picture as a sight holds it."""
    kept = io.BytesIO()
    picture.save(kept, "PNG")
    return base64.b64encode(kept.getvalue()).decode()


def continued(
    model: Any, ids: Sequence[int], seen: Seen | None, count: int
) -> tuple[list[int], Tensor]:
    """The most probable continuation, past any end; new ids and the (N, V) f32 they come from."""
    forward, chosen, steps = Plain(model), list[int](), list[Tensor]()
    state, fresh = forward.begin(seen), list(ids)
    for _ in range(count):
        (last,) = forward.extend([(state, fresh)])
        steps.append(last.cpu())
        chosen.append(int(last.argmax()))
        fresh = [chosen[-1]]
    return chosen, torch.stack(steps)
