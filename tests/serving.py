"""Servers to test with: a tiny model behind a template, or an engine that says what it is told."""

from __future__ import annotations

import threading
from contextlib import suppress
from functools import cache

from tiny_tokenizer import load_tiny
from tunesmith.cli.answering import Found
from tunesmith.cli.target import Served as Target
from tunesmith.infer.grammar import Grammars
from tunesmith.infer.hf import split_stops
from tunesmith.infer.request import Delta, Token
from tunesmith.infer.sampling import Sampling
from tunesmith.serve.limits import Limits
from tunesmith.serve.served import Served, Voice
from tunesmith.templates import choose

TOKENIZER = load_tiny()
USUAL = Limits()
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "for a test",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "maxLength": 12}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    }
    for name in ("weather", "time")
]


class Scripted:
    """An engine that says given texts, one token at a time, and remembers what it was asked."""

    context = 4096
    load = (0, 0)
    gone = None

    def __init__(
        self,
        *texts: str,
        finish="stop",
        hold: threading.Event | None = None,
        backend=TOKENIZER.backend,
    ) -> None:
        self.texts, self.finish, self.hold = list(texts), finish, hold
        self.backend = backend
        self.asked, self.cancelled = [], []

    def submit(self, request, on_delta):
        self.asked.append(request)
        text = self.texts[(len(self.asked) - 1) % len(self.texts)]
        ids = self.backend.encode(text, add_special_tokens=False).ids
        stream = Said(self, request)

        def say():
            with suppress(RuntimeError):  # as the engine: nobody waits for it any more
                tell()

        def tell():
            for i in ids:
                on_delta(Delta(self.backend.decode([i]), (Token(i, -0.5, ((i, -0.5),)),)))
                if self.hold:
                    self.hold.wait(0.2)
                if request in self.cancelled:
                    on_delta(Delta("", (), "cancelled"))
                    return
            on_delta(Delta("", (), self.finish))

        threading.Thread(target=say, daemon=True).start()
        return stream

    def close(self):
        pass


class Said:
    """A stream of it."""

    def __init__(self, engine, request):
        self.engine, self.request = engine, request

    def cancel(self):
        self.engine.cancelled.append(self.request)


@cache
def _sees_nothing():
    raise AssertionError("nothing here has media")


def found(template: str | None, tokenizer=TOKENIZER) -> Found:
    """What the command line would find."""
    renderer = choose(template, tokenizer)
    return Found(Target("m", (), "m"), None, (), tokenizer, renderer, False, (), _sees_nothing)


def served(engine, *, template="qwen", limits=USUAL, tokenizer=TOKENIZER, **keys) -> Served:
    """Everything the routes need, over an engine."""
    known = found(template, tokenizer)
    stop_ids, stop_texts = split_stops(tokenizer, known.renderer.stop_words)
    voice = Voice(
        None,
        known.spoken,
        known.style,
        stop_ids,
        stop_texts,
        constraining=lambda: Grammars(tokenizer.backend, stop_ids=stop_ids),
        call_forms=known.call_forms,
    )
    return Served(
        engine=engine,
        backend=tokenizer.backend,
        models={"tuned": voice, "base": voice._replace(adapter="base")},
        sampling=Sampling(max_new_tokens=64),
        limits=limits,
        **keys,
    )


def spoken(known: Served, **keys) -> Served:
    """The same with models that speak otherwise."""
    models = {name: voice._replace(**keys) for name, voice in known.models.items()}
    return known._replace(models=models)
