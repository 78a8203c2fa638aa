"""How much one request may ask for, and how many may wait."""

from __future__ import annotations

from typing import NamedTuple

WITH_PICTURES = 32 << 20
"""Bytes of a request whose pictures come with it."""


class Limits(NamedTuple):
    """Caps of a server."""

    body_bytes: int = 4 << 20
    """Of a request; one to a model that sees has its pictures in it (`WITH_PICTURES`)."""
    prompt_tokens: int = 65_536
    """Of each prompt, where the model's context does not say fewer."""
    answer_tokens: int = 65_536
    """`max_tokens` of an answer."""
    answers: int = 8
    """`n` of a request, times its prompts."""
    pictures: int = 16
    """Of a request."""
    stops: int = 16
    """Stop words of a request."""
    stop_characters: int = 256
    """Of each of them."""
    alternatives: int = 20
    """Log-probabilities for each token."""
    prompts: int = 64
    """Inputs of one request for embeddings or completions."""
    waiting: int = 64
    """Answers that may wait for a place; more are refused with 429."""
    seconds: float = 600.0
    """From a request to the end of its answer, which ends as it is then."""
