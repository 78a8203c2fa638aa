"""Two doors held against each other: ids, prompts, template, logits, greedy answers.

A number may differ by what the format of the stored weights explains, and no more; an answer may
leave the other only where two tokens were so near that this difference decides.

Shape letters: T token positions, V vocabulary, N new tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tunesmith.errors import ModelError
from tunesmith.export.said import Said

_COMPUTED_ROUGHLY = 3.0  # both sides in 16 bits: their own noise comes on top
_SHOWN = 8
_NEED = {
    "tokenizer ids": "the ids of the tokenizer that training used",
    "prompt ids": "the prompt that training used, by the chat_template of the export",
    "picture prompts": "the prompt that training used, by the processor of the export",
    "chat template": "the chat_template that belongs to the training",
}


class Bound(NamedTuple):
    """What a format explains."""

    name: str
    share: float
    """Largest difference of a logit, as a share of the largest logit."""
    kl: float
    """Mean Kullback-Leibler divergence over the positions, in nats."""

    def beside(self, other: Bound) -> Bound:
        """How far two may be from each other that each may be so far from a third."""
        kl = (self.kl**0.5 + other.kl**0.5) ** 2
        return Bound(f"{self.name} beside {other.name}", self.share + other.share, kl)

    def looser(self, compute: str) -> Bound:
        """The same where both sides compute in `compute`, a type of torch."""
        if compute == "float32":
            return self
        rough = _COMPUTED_ROUGHLY
        return self._replace(share=self.share * rough, kl=self.kl * rough * rough)


class Door(NamedTuple):
    """One thing that was compared."""

    name: str
    equal: bool | None
    """`None`: it could not be compared."""
    said: str
    """What was found, in words."""
    numbers: Mapping[str, float] = {}

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return self._asdict()


def compare(a: Said, b: Said, bound: Bound) -> list[Door]:
    """Every door of `b` against that of `a`, in the order in which a question passes them."""
    ids = _listed("tokenizer ids", a.ids, b.ids, "texts")
    prompts = _listed("prompt ids", a.prompts, b.prompts, "conversations")
    if prompts.equal is None:
        prompts = _counts(a, b) or prompts
    numbers = logits(a.rows, b.rows, bound)
    if numbers.equal is None:
        numbers = _logprobs(a, b, bound) or numbers
    return [ids, prompts, _template(a, b), numbers, _answers(a, b, bound), *_pictures(a, b, bound)]


def refuse(doors: Sequence[Door], where: str, *, reader: str) -> None:
    """Raise for the first door that does not say the same.

    Raises:
        ModelError: names the door.
    """
    for door in doors:
        if door.equal is False:
            raise ModelError(
                where,
                got=f"{door.name}: {door.said}",
                need=f"{_NEED.get(door.name, 'what the tuned model says')}; opened by {reader}, "
                "nothing was exported",
            )


def kl(p_TV: Tensor, q_TV: Tensor) -> float:
    """Mean Kullback-Leibler divergence of q from p, of logits, in nats; 0 where they are equal."""
    p, q = (x.double().log_softmax(1) for x in (p_TV, q_TV))
    return float((p.exp() * (p - q)).sum(1).mean())


def logits(a: Sequence[Tensor] | None, b: Sequence[Tensor] | None, bound: Bound) -> Door:
    """The door of numbers."""
    name = "logits"
    if not a or not b:
        return Door(name, None, "not compared: one side gives none")
    one, other = torch.cat(list(a)), torch.cat(list(b))
    if one.shape != other.shape:
        shapes = f"{tuple(other.shape)} in place of {tuple(one.shape)}"
        return Door(name, False, f"logits of shape {shapes}")
    allowed = bound.share * max(1.0, float(one.abs().max()))
    largest = float((one - other).abs().max())
    diverged = kl(one, other) if math.isfinite(largest) else math.nan
    equal = largest <= allowed and diverged <= bound.kl
    said = (
        f"a logit differs by {largest:.3g} where {bound.name} explains {allowed:.3g}, mean KL "
        f"divergence {diverged:.2g} nats where it explains {bound.kl:.2g} ({len(one)} positions)"
    )
    first = float((one.argmax(1) == other.argmax(1)).float().mean())
    numbers = {
        "largest_difference": largest,
        "bound": allowed,
        "kl": diverged,
        "kl_bound": bound.kl,
        "argmax_equal": first,
        "positions": len(one),
    }
    return Door(name, equal, said, numbers)


def _listed(name: str, a: list[list[int]] | None, b: list[list[int]] | None, what: str) -> Door:
    if a is None or b is None:
        return Door(name, None, "not compared: one side gives none")
    wrong = [i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y]
    if not wrong:
        return Door(name, True, f"equal for {len(a)} {what}", {what: len(a)})
    one, other = a[wrong[0]], b[wrong[0]]
    at = next((i for i, (x, y) in enumerate(zip(one, other, strict=False)) if x != y), None)
    at = min(len(one), len(other)) if at is None else at
    return Door(
        name,
        False,
        f"{len(wrong)} of {len(a)} {what} differ: {other[at : at + _SHOWN]} in place of "
        f"{one[at : at + _SHOWN]} from token {at} on",
        {what: len(a), "wrong": len(wrong)},
    )


def _counts(a: Said, b: Said) -> Door | None:
    """Prompts by their length, where one side gives no more."""
    one, other = (_lengths(said) for said in (a, b))
    if one is None or other is None:
        return None
    equal = one == other
    said = f"{other} tokens in place of {one}"
    return Door("prompt ids", equal, f"as many tokens: {other}" if equal else said)


def _lengths(said: Said) -> list[int] | None:
    return said.counts if said.prompts is None else [len(ids) for ids in said.prompts]


def _logprobs(a: Said, b: Said, bound: Bound) -> Door | None:
    """Log-probabilities of the answers, where one side gives no logits."""
    if not a.logprobs or not b.logprobs or not (a.steps or b.steps):
        return None
    pairs = [
        (x, y)
        for one, other in zip(a.logprobs, b.logprobs, strict=True)
        for x, y in zip(one, other, strict=False)
    ]
    steps = torch.cat(list(a.steps or b.steps or ()))
    allowed = 2 * bound.share * max(1.0, float(steps.abs().max()))
    largest = max((abs(x - y) for x, y in pairs), default=0.0)
    said = (
        f"a log-probability of the answers differs by {largest:.3g} where {bound.name} explains "
        f"{allowed:.3g} ({len(pairs)} tokens)"
    )
    numbers = {"largest_difference": largest, "bound": allowed, "positions": len(pairs)}
    return Door("logits", largest <= allowed, said, numbers)


def _template(a: Said, b: Said) -> Door:
    name = "chat template"
    if a.template is None and b.template is None:
        return Door(name, None, "not compared: neither has one")
    if a.template is None or b.template is None:
        return Door(name, None, "not compared: one side gives none")
    if a.template == b.template:
        return Door(name, True, f"the same text, {len(a.template)} characters")
    pairs = enumerate(zip(a.template, b.template, strict=False))
    at = next((i for i, (x, y) in pairs if x != y), min(len(a.template), len(b.template)))
    return Door(name, False, f"another text from character {at} on: {b.template[at : at + 40]!r}")


def _answers(a: Said, b: Said, bound: Bound) -> Door:
    name = "greedy answers"
    if a.answers is None or b.answers is None:
        return _answers_as_text(a, b)
    near, far = 0, ""
    for i, (one, other) in enumerate(zip(a.answers, b.answers, strict=True)):
        at = next((k for k, (x, y) in enumerate(zip(one, other, strict=False)) if x != y), None)
        if at is None:
            continue
        lead = _lead(a, i, at, other[at])
        steps = a.steps[i][at] if a.steps else None
        allowed = 2 * bound.share * max(1.0, float(steps.abs().max())) if steps is not None else 0
        if lead is not None and lead <= allowed:
            near += 1
        elif not far:
            far = f"answer {i} has token {other[at]} in place of {one[at]} at {at}" + (
                "" if lead is None else f", which led by {lead:.3g}"
            )
    count = len(a.answers)
    if far:
        return Door(name, False, far, {"answers": count})
    tied = f"; {near} turn where the token chosen led by less than the format explains"
    tied = tied if near else ""
    numbers = {"answers": count, "equal": count - near}
    return Door(name, True, f"{count - near} of {count} equal token by token{tied}", numbers)


def _pictures(a: Said, b: Said, bound: Bound) -> list[Door]:
    """What was asked about pictures, if anything was."""
    if a.seen_steps is None and b.seen_steps is None:
        return []
    prompts = _listed("picture prompts", a.seen_prompts, b.seen_prompts, "conversations")
    if prompts.equal is False:  # other questions have other answers
        return [prompts]
    one, other = (
        said._replace(answers=said.seen_answers, steps=said.seen_steps, texts=None)
        for said in (a, b)
    )
    first, second = ([step[:1] for step in said.steps or ()] for said in (one, other))
    numbers, answers = logits(first, second, bound), _answers(one, other, bound)
    return [
        prompts,
        numbers._replace(name="picture logits"),
        answers._replace(name="picture answers"),
    ]


def _lead(a: Said, i: int, at: int, token: int) -> float | None:
    """By how much the token that `a` chose was ahead of the other one."""
    if a.steps is None:
        return None
    scores = a.steps[i][at]
    return float(scores.max() - scores[token])


def _answers_as_text(a: Said, b: Said) -> Door:
    """Where one side gives text alone, a server that stops at an end among them."""
    name = "greedy answers"
    if a.texts is None or b.texts is None:
        return Door(name, None, "not compared: one side gives none")
    wrong = [(x, y) for x, y in zip(a.texts, b.texts, strict=True) if x.strip() != y.strip()]
    count = len(a.texts)
    if wrong:
        return Door(name, False, f"{wrong[0][1]!r} in place of {wrong[0][0]!r}", {"answers": count})
    return Door(name, True, f"{count} of {count} equal as text", {"answers": count})
