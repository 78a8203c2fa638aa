"""From what a client sends to what the engine is asked."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from tunesmith.data.entry import OPENAI_COLUMNS, OPENAI_TAGS
from tunesmith.data.formats.messages import asked as read_messages
from tunesmith.data.formats.messages import unread_keys
from tunesmith.errors import Error
from tunesmith.infer.grammar import AfterThought
from tunesmith.infer.request import Grammar, Request
from tunesmith.infer.sampling import Sampling
from tunesmith.serve.asked import ChatBody, Choice, CompletionBody, Drawn
from tunesmith.serve.pictures import taken_out
from tunesmith.serve.reading import Style
from tunesmith.serve.refusal import Refusal
from tunesmith.serve.served import Served, Voice
from tunesmith.serve.tools import look_at
from tunesmith.templates.calls import dumps, function_of, read_tools
from tunesmith.types import Conversation, Seen

_HARMLESS = {"name", "id", "refusal", "audio", "annotations", "function_call", "tool_call_id"}
"""Keys of messages that clients send back as they got them, where they are empty."""


class Wanted(NamedTuple):
    """Answers to one prompt."""

    requests: list[Request]
    """One for each of `n`."""
    style: Style


def chat(body: ChatBody, served: Served) -> Wanted:
    """A conversation.

    Raises:
        Refusal: something of it cannot be honoured.
    """
    tools, voice = _tools(body), served.voice(body.model)
    sees = voice.see is not None
    messages, media = taken_out(body.messages, sees=sees, most=served.limits.pictures)
    conversation = _conversation(messages, tools)._replace(media=media)
    try:
        style = voice.style(tools)
        prompt = list(voice.encode(conversation))
        seen = voice.see(conversation, prompt) if voice.see and media else None
    except Error as error:
        raise Refusal.of(error, "tools" if tools and "tool" in str(error) else "messages") from None
    if body.top_logprobs and not body.logprobs:
        raise Refusal("top_logprobs needs logprobs: true", "top_logprobs")
    logprobs = (body.top_logprobs or 0) if body.logprobs else None
    most = body.max_completion_tokens or body.max_tokens
    if body.max_completion_tokens and body.max_tokens not in (None, body.max_completion_tokens):
        raise Refusal("max_tokens and max_completion_tokens differ", "max_tokens")
    grammar = _grammar(body, voice, tools)
    if style.marks:
        said = served.backend.decode(prompt[-16:], skip_special_tokens=False).rstrip()
        style = style._replace(thinking=said.endswith(style.marks[0].strip()))
        if grammar and style.thinking and style.marks:
            grammar = AfterThought(grammar, served.backend, style.marks[1].strip())
    if body.parallel_tool_calls is False and style.read:
        read = style.read
        style = style._replace(read=lambda text: _first(read(text)))
    found = _each(body, served, prompt, logprobs=logprobs, most=most, grammar=grammar, seen=seen)
    return Wanted(found, style)


def _first(read: tuple[str, tuple[Any, ...]]) -> tuple[str, tuple[Any, ...]]:
    return read[0], read[1][:1]


def completions(body: CompletionBody, served: Served) -> list[Wanted]:
    """One or several texts to go on with.

    Raises:
        Refusal: something of it cannot be honoured.
    """
    prompts = ids_of(body.prompt, served, "prompt")
    most = served.limits.answers
    if len(prompts) * (body.n or 1) > most:
        raise Refusal(f"more than {most} answers", "prompt" if len(prompts) > most else "n")
    plain = Style()
    return [
        Wanted(_each(body, served, ids, logprobs=body.logprobs, most=body.max_tokens), plain)
        for ids in prompts
    ]


def ids_of(given: str | Sequence[Any], served: Served, param: str) -> list[list[int]]:
    """Texts or ids, one or several, as ids."""
    found: list[Any] = [given] if isinstance(given, str) else list(given)
    if found and isinstance(found[0], int):
        found = [found]
    if not found or any(not part for part in found):
        raise Refusal(f"{param} is empty", param)
    if len(found) > served.limits.prompts:
        raise Refusal(f"more than {served.limits.prompts} of {param}", param)
    vocabulary = served.backend.get_vocab_size(with_added_tokens=True)
    for number, ids in enumerate(found):
        outside = [i for i in ids if not 0 <= i < vocabulary] if isinstance(ids, list) else []
        if outside:
            place = f"{param}[{number}]" if isinstance(given[0], list) else param
            raise Refusal(f"{place}: no token {outside[0]}; there are {vocabulary}", place)
    return [served.backend.encode(x).ids if isinstance(x, str) else list(x) for x in found]


def _tools(body: ChatBody) -> str | None:
    choice = body.tool_choice
    if not body.tools:
        if choice not in (None, "none", "auto"):
            raise Refusal("tool_choice asks for a call and there are no tools", "tool_choice")
        return None
    names = look_at(body.tools)
    if isinstance(choice, Choice) and choice.function.name not in names:
        raise Refusal(
            f"tool_choice names {choice.function.name}, which is none of the tools", "tool_choice"
        )
    return None if choice == "none" else dumps(body.tools)


def _conversation(messages: list[dict[str, Any]], tools: str | None) -> Conversation:
    row = {
        "messages": [
            {k: v for k, v in message.items() if v is not None or k not in _HARMLESS}
            for message in _joined(messages)
        ],
        "tools": tools,
    }
    unread = unread_keys(row, OPENAI_COLUMNS, OPENAI_TAGS) - {"name"}
    if unread:
        raise Refusal(f"messages: {sorted(unread)[0]} is not read here", "messages")
    called = False
    for number, message in enumerate(messages):
        if message.get("role") == "tool" and not called:
            need = "a result needs a message with tool_calls before it"
            raise Refusal(f"messages[{number}]: {need}", f"messages[{number}].role")
        called = bool(message.get("tool_calls")) or (called and message.get("role") == "tool")
    try:
        return read_messages(row, OPENAI_COLUMNS, OPENAI_TAGS)
    except Error as error:
        raise Refusal.of(error) from None


def _joined(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Questions in a row are one question of several paragraphs, as a turn was in training."""
    found: list[dict[str, Any]] = []
    for message in messages:
        before = found[-1] if found else {}
        if not before.get("role") == message.get("role") == "user":
            found.append(message)
            continue
        one, other = before.get("content"), message.get("content")
        if isinstance(one, str) and isinstance(other, str):
            together: Any = f"{one}\n\n{other}"
        else:
            together = [*_parts(one), {"type": "text", "text": "\n\n"}, *_parts(other)]
        found[-1] = {**before, **message, "content": together}
    return found


def _parts(content: Any) -> list[Any]:
    return content if isinstance(content, list) else [{"type": "text", "text": content}]


def _grammar(body: ChatBody, voice: Voice, tools: str | None) -> Grammar | None:
    """What the answer is held to."""
    choice, wanted = body.tool_choice, body.response_format
    as_json = wanted is not None and wanted.type != "text"
    called = choice == "required" or isinstance(choice, Choice)
    if not as_json and not called:
        return None
    param = "tool_choice" if called else "response_format"
    if as_json and tools:
        raise Refusal("response_format and tools exclude each other", "response_format")
    if voice.constraining is None:
        raise Refusal(f"{param}: answers of this model are not held to anything", param)
    try:
        if called:
            assert tools is not None, "looked at before"
            return _of_call(choice, voice, tools)
        schema = wanted.json_schema if wanted else None
        if wanted and wanted.type == "json_schema" and schema is None:
            need = "response_format: json_schema is missing"
            raise Refusal(need, "response_format.json_schema")
        return voice.constraining().of_json(schema.schema_ if schema else None)
    except Error as error:
        raise Refusal.of(error, param) from None


def _of_call(choice: Any, voice: Voice, tools: str) -> Grammar:
    if voice.constraining is None or voice.call_forms is None:
        raise Refusal("tool_choice: calls of this template cannot be asked for", "tool_choice")
    names = [function_of(tool)["name"] for tool in read_tools(tools, "tools")]
    forms = [
        form
        for name, form in zip(names, voice.call_forms(tools), strict=True)
        if not isinstance(choice, Choice) or name == choice.function.name
    ]
    try:
        return voice.constraining().of_call(forms)
    except Error as error:
        raise Refusal.of(error, "tools") from None


def _each(
    body: Drawn,
    served: Served,
    prompt: Sequence[int],
    *,
    logprobs: int | None,
    most: int | None,
    grammar: Grammar | None = None,
    seen: Seen | None = None,
) -> list[Request]:
    """A request for each of `n`."""
    limits, count = served.limits, body.n or 1
    if count > limits.answers:
        raise Refusal(f"n is at most {limits.answers}", "n")
    stops = [body.stop] if isinstance(body.stop, str) else body.stop or []
    if len(stops) > limits.stops or any(len(s) > limits.stop_characters for s in stops):
        need = f"at most {limits.stops} texts of {limits.stop_characters} characters"
        raise Refusal(f"stop: {need}", "stop")
    if (logprobs or 0) > limits.alternatives:
        raise Refusal(f"at most {limits.alternatives} alternatives", "top_logprobs")
    if body.stream_options and not body.stream:
        raise Refusal("stream_options needs stream: true", "stream_options")
    context, where = served.engine.context, "messages" if isinstance(body, ChatBody) else "prompt"
    if context is not None and len(prompt) >= context:
        raise Refusal(
            f"the prompt has {len(prompt)} tokens, the model's context is {context}", where
        )
    if len(prompt) > limits.prompt_tokens:
        told = f"the prompt has {len(prompt)} tokens, at most {limits.prompt_tokens} are read here"
        raise Refusal(told, where)
    if most and most > limits.answer_tokens:
        raise Refusal(f"max_tokens is at most {limits.answer_tokens} here", "max_tokens")
    sampling = _sampling(body, served.sampling, most)
    vocabulary = served.backend.get_vocab_size(with_added_tokens=True)
    outside = [i for i in sampling.logit_bias if i >= vocabulary]
    if outside:
        raise Refusal(f"logit_bias: no token {outside[0]}", "logit_bias")
    deadline = time.monotonic() + limits.seconds
    voice = served.voice(body.model)
    return [
        Request(
            tuple(prompt),
            sampling._replace(seed=sampling.seed + number),
            adapter=voice.adapter,
            stops=(*voice.stop_texts, *filter(None, stops)),
            stop_ids=voice.stop_ids,
            logprobs=logprobs,
            seen=seen,
            grammar=grammar,
            deadline=deadline,
        )
        for number in range(count)
    ]


def _sampling(body: Drawn, usual: Sampling, most: int | None) -> Sampling:
    names = (
        "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty",
        "frequency_penalty",
    )  # fmt: skip
    given = {name: getattr(body, name) for name in names if getattr(body, name) is not None}
    found = usual._replace(**given)
    if body.top_k == -1:  # as other servers spell no limit
        found = found._replace(top_k=0)
    if body.temperature is not None:
        found = found._replace(do_sample=body.temperature > 0)
    seed = random.SystemRandom().randrange(2**62) if body.seed is None else body.seed
    bias = {int(token): value for token, value in (body.logit_bias or {}).items()}
    return found._replace(
        max_new_tokens=most or usual.max_new_tokens, seed=seed, logit_bias=bias
    )  # fmt: skip
