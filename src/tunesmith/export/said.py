"""What a model is asked at each of its doors, and what it said: the two nouns of every comparison.

A door is a way to an answer: the tuned model in memory, a directory opened by transformers, a
GGUF file opened by llama.cpp, a server. All are asked the same `Questions` and give one `Said`;
what a door cannot tell is `None`. Both travel between processes as files.

Shape letters: L tokens of a row, N new tokens, V vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tunesmith import store
from tunesmith.export.sights import Glance, Sight
from tunesmith.models import files

_QUESTIONS, _SAID, _NUMBERS = "questions.json", "said.json", "said.safetensors"
_TENSORS = ("rows", "steps", "seen_steps")


class Questions(NamedTuple):
    """What every door is asked."""

    texts: list[str]
    """To be turned into ids, without and with what the tokenizer adds itself."""
    prompts: list[list[dict[str, str]]]
    """Conversations as role and content, to be turned into prompts."""
    rows: list[list[int]]
    """Ids whose logits are compared."""
    begun: list[list[int]]
    """Prompts to be continued, always by the most probable token."""
    new_tokens: int = 12
    dtype: str = "float32"
    """In which it is computed where the door can choose."""
    device: str = "cpu"
    trust_remote_code: bool = False
    base: str = ""
    """Directory of the base, of an adapter."""
    sights: Sequence[Sight] = ()
    """Questions about pictures, for a model that sees."""


class Said(NamedTuple):
    """What one door said."""

    reader: str
    """Who opened the door, with its version."""
    ids: list[list[int]] | None = None
    """Of each text twice: without and with what the tokenizer adds itself."""
    prompts: list[list[int]] | None = None
    template: str | None = None
    """Text of the chat template."""
    rows: list[Tensor] | None = None
    """Logits, (L, V) f32 each."""
    answers: list[list[int]] | None = None
    """New tokens of each begun prompt."""
    steps: list[Tensor] | None = None
    """Logits that they were chosen from, (N, V) f32 each."""
    texts: list[str] | None = None
    """The answers as text, up to their end."""
    logprobs: list[list[float]] | None = None
    """Of the tokens of the answers, in nats."""
    counts: list[int] | None = None
    """Tokens of each prompt, where the ids themselves are not given."""
    seen_prompts: list[list[int]] | None = None
    """Of each question about pictures, the places of the pictures filled."""
    seen_answers: list[list[int]] | None = None
    """New tokens of each of them."""
    seen_steps: list[Tensor] | None = None
    """Logits that they were chosen from, (N, V) f32 each."""
    notes: tuple[str, ...] = ()

    def looked(self, seen: Sequence[Glance]) -> Said:
        """The same with what was said about pictures, if anything was."""
        if not seen:
            return self
        prompts, answers, steps = (list(each) for each in zip(*seen, strict=True))
        return self._replace(seen_prompts=prompts, seen_answers=answers, seen_steps=steps)


def rows_of(model: Any, rows: Sequence[Sequence[int]]) -> list[Tensor]:
    """(L, V) f32 on the CPU for each row, alone and without padding."""
    found = []
    for row in rows:
        ids = torch.tensor([list(row)], device=model.device)
        with torch.inference_mode():
            found.append(model(input_ids=ids, use_cache=False).logits[0].float().cpu())
    return found


def greedy(model: Any, prompt: Sequence[int], count: int) -> tuple[list[int], Tensor]:
    """The most probable continuation, past any end; new ids and the (N, V) f32 they come from."""
    ids = torch.tensor([list(prompt)], device=model.device)
    cache, chosen, steps = None, list[int](), list[Tensor]()
    with torch.inference_mode():
        for _ in range(count):
            whole = torch.tensor([[*prompt, *chosen]], device=model.device)
            given = ids if cache is not None or not chosen else whole
            out = model(input_ids=given, past_key_values=cache, use_cache=True)
            cache = getattr(out, "past_key_values", None)
            last = out.logits[0, -1].float().cpu()
            steps.append(last)
            chosen.append(int(last.argmax()))
            ids = torch.tensor([[chosen[-1]]], device=model.device)
    return chosen, torch.stack(steps)


def spoken(said: Said, ends: Collection[int], text_of: Callable[[list[int]], str]) -> Said:
    """The same with its answers as text up to their end, and their log-probabilities."""
    texts, numbers = [], []
    answers, every = said.answers or [], said.steps or []
    for ids, steps in zip(answers, every, strict=True):
        end = next((i for i, token in enumerate(ids) if token in ends), len(ids))
        texts.append(text_of(ids[:end]))
        chosen = steps.double().log_softmax(1)[range(len(ids)), ids]
        numbers.append([float(number) for number in chosen])
    return said._replace(texts=texts, logprobs=numbers)


def of_model(said: Said, model: Any, questions: Questions) -> Said:
    """The same with what a transformers model computes."""
    answered = [greedy(model, prompt, questions.new_tokens) for prompt in questions.begun]
    return said._replace(
        rows=rows_of(model, questions.rows),
        answers=[ids for ids, _ in answered],
        steps=[steps for _, steps in answered],
    )


def ask_in(place: Path, questions: Questions) -> None:
    """Write questions down for another process."""
    words = questions._asdict() | {"sights": [sight._asdict() for sight in questions.sights]}
    store.write_json(place / _QUESTIONS, words)


def asked_in(place: Path) -> Questions:
    """Read them there."""
    words = files.read_json(place / _QUESTIONS)
    sights = tuple(Sight(**sight) for sight in words.pop("sights"))
    return Questions(**words)._replace(sights=sights)


def say_in(place: Path, said: Said) -> None:
    """Write down what was said; numbers apart from words."""
    from safetensors.torch import save_file

    words = said._asdict()
    numbers = {
        f"{name}.{i:03d}": tensor.contiguous()
        for name in _TENSORS
        for i, tensor in enumerate(words.pop(name) or ())
    }
    if numbers:
        save_file(numbers, place / _NUMBERS)
    (place / _SAID).write_text(json.dumps(words), encoding="utf8")


def said_in(place: Path) -> Said:
    """Read it back."""
    from safetensors.torch import load_file

    words = json.loads((place / _SAID).read_text(encoding="utf8"))
    words["notes"] = tuple(words["notes"])
    path = place / _NUMBERS
    numbers = load_file(path) if path.exists() else {}
    for name in _TENSORS:
        found = [numbers[key] for key in sorted(numbers) if key.startswith(f"{name}.")]
        words[name] = found or None
    return Said(**words)
