"""Answers to many conversations at once: the tokens of one by one, in a fraction of the time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from tunesmith.infer.batching import Batching
from tunesmith.infer.hf import Answer, Engine
from tunesmith.infer.request import Request
from tunesmith.infer.sampling import Sampling
from tunesmith.types import Conversation


def generate_many(
    engine: Engine,
    conversations: Sequence[Conversation],
    sampling: Sampling,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[Answer]:
    """Answer every conversation, in their order.

    Each answer is the one that `engine.generate` gives alone, but for near ties that another
    order of summation decides otherwise.

    Args:
        engine: as for one conversation.
        conversations: each ends with the user's message.
        sampling: of each; all draw from the same seed.
        progress: told (answers done, all) now and then.

    Raises:
        ModelError: a prompt leaves no room in the model's context.
    """
    prompts = [engine.encode(conversation) for conversation in conversations]
    for prompt in prompts:
        engine.room(len(prompt), sampling.max_new_tokens)
    tell = progress or (lambda done, of: None)
    answers: list[Answer] = []
    begun = time.perf_counter()
    batching = Batching(
        engine.model,
        engine.tokenizer.backend,
        stop_ids=engine.stop_ids,
        stop_texts=engine.stop_texts,
    )
    try:
        streams = [batching.submit(Request(tuple(prompt), sampling)) for prompt in prompts]
        for stream, prompt in zip(streams, prompts, strict=True):
            last = [delta.finish for delta in stream][-1]
            ids, seconds = stream.row.ids, max(time.perf_counter() - begun, 1e-9)
            reason = "stop" if last == "stop" else "length"
            text = engine.text(ids)
            answers.append(Answer(text, ids, prompt, reason, len(ids) / seconds))
            tell(len(answers), len(prompts))
    finally:
        batching.close()
    return answers
