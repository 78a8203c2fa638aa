"""What clients may send: OpenAI's fields, and those that its servers of open models share.

A field that would change the answer and is not honoured here is no field of these models: it is
refused by name. Those that change nothing here are listed in `Passed`.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tunesmith.serve.refusal import Refusal

Text = Annotated[str, Field(max_length=1_000_000)]
Bias = dict[Annotated[str, Field(pattern=r"^\d{1,9}$")], Annotated[float, Field(ge=-100, le=100)]]


class Body(BaseModel):
    """Base of every request: unknown fields are refused, numbers are numbers."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, strict=True)

    model: str | None = None
    """One of /v1/models; not set: the first of them."""

    @model_validator(mode="before")
    @classmethod
    def _made_of_characters(cls, given: Any) -> Any:
        r"""JSON can write half a character (`"\ud83d"`), which no tokenizer reads."""
        for name, value in given.items() if isinstance(given, dict) else ():
            try:
                json.dumps([name, value], ensure_ascii=False).encode()
            except UnicodeEncodeError:
                place = ascii(name).strip("'")
                raise Refusal(f"{place}: half a character is no text", place) from None
        return given


class Passed(BaseModel):
    """Fields of OpenAI's that change no answer here."""

    user: str | None = None
    """Passed over."""
    store: bool | None = None
    """Passed over: nothing is stored."""
    metadata: dict[str, str] | None = None
    """Passed over."""
    service_tier: str | None = None
    """Passed over."""
    safety_identifier: str | None = None
    """Passed over."""
    prompt_cache_key: str | None = None
    """Passed over."""


class StreamOptions(BaseModel):
    """How an answer is streamed."""

    model_config = ConfigDict(extra="forbid", strict=True)

    include_usage: bool = False
    """A last chunk with the counts of tokens."""


class Drawn(Body, Passed):
    """How tokens are chosen; what is not set is the server's (see its first lines)."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    """0: always the most probable token."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=1_000_000)] | None = None
    """At most so many tokens stay in the draw; 0 and -1: all."""
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    logit_bias: Bias | None = None
    """By token id; -100 bans a token."""
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    """The same request with the same seed gets the same answer."""
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    """How many answers; the second is drawn with the next seed."""
    stop: Text | list[Text] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None


class JsonSchema(BaseModel):
    """OpenAI's wrapping of a schema."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    description: str | None = None
    schema_: Annotated[dict[str, Any], Field(alias="schema")] = {}
    strict: bool | None = None


class ResponseFormat(BaseModel):
    """What an answer must be."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class Named(BaseModel):
    """The name of a function."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str


class Choice(BaseModel):
    """The one tool that has to be called."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["function"] = "function"
    function: Named


class ChatBody(Drawn):
    """POST /v1/chat/completions."""

    messages: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=10_000)]
    max_tokens: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """The newer name of `max_tokens`."""
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: Annotated[list[dict[str, Any]], Field(max_length=512)] | None = None
    tool_choice: Literal["none", "auto", "required"] | Choice | None = None
    parallel_tool_calls: bool | None = None
    """False: no more than the first call."""
    response_format: ResponseFormat | None = None


class CompletionBody(Drawn):
    """POST /v1/completions."""

    prompt: Text | list[Text] | list[int] | list[list[int]]
    """As it is, without a template: text, ids, or several of them."""
    max_tokens: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: Literal[False] | None = None
    best_of: Literal[1] | None = None


class EmbeddingBody(Body, Passed):
    """POST /v1/embeddings."""

    input: Text | list[Text] | list[int] | list[list[int]]
    encoding_format: Literal["float", "base64"] | None = None
