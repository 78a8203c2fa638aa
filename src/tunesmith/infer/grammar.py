"""Answers held to a grammar: at every token only those stay that can still become what is wanted.

The work is llguidance's, which knows JSON Schema and needs nothing but itself (xgrammar would bring
triton, some 200 MB, to machines without a GPU as well). White space in JSON is that of
`json.dumps`, so that no model can go on with blanks for ever.

Shape letter: V vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tokenizers
import torch
from torch import Tensor

from tunesmith.errors import ModelError, TemplateError
from tunesmith.infer.request import Constraint, Grammar

_SPACES = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
_ANY_OBJECT = {"type": "object"}


class CallForm(NamedTuple):
    """How a template writes a call of one tool."""

    before: str
    """Up to the arguments, marks and name among it."""
    parameters: Mapping[str, Any]
    """JSON schema of the arguments."""
    behind: str
    """After the arguments, up to the end of the answer."""


class Grammars:
    """Makes grammars for one vocabulary.

    Args:
        backend: the tokenizer.
        stop_ids: end an answer, which they may only where it is complete.

    Raises:
        ModelError: the library cannot read the tokenizer.
    """

    def __init__(self, backend: tokenizers.Tokenizer, *, stop_ids: Collection[int]) -> None:
        import llguidance

        self._backend = backend
        try:
            self._known = llguidance.LLTokenizer(backend.to_str(), eos_token=sorted(stop_ids))
        except (ValueError, RuntimeError) as error:
            raise ModelError("tokenizer", got=str(error), need="one with bytes or text") from None

    def of_json(self, schema: Mapping[str, Any] | None) -> Grammar:
        """JSON of a schema; `None`: any object.

        Raises:
            TemplateError: no JSON Schema, or a part of it that cannot be enforced.
        """
        from llguidance import LLMatcher

        wanted = json.dumps(_ANY_OBJECT if schema is None else schema)
        try:
            text = LLMatcher.grammar_from_json_schema(wanted, defaults=_SPACES)
        except ValueError as error:
            raise _refused(str(error)) from None
        return self._made(text, {"json": _ANY_OBJECT if schema is None else schema})

    def of_call(self, forms: Sequence[CallForm]) -> Grammar:
        """A call of one of these tools, as their template writes it.

        Raises:
            TemplateError: a schema of arguments that cannot be enforced.
        """
        lines = [f"start: {' | '.join(f'call_{n}' for n in range(len(forms)))}"]
        for number, form in enumerate(forms):
            schema = json.dumps({**_ANY_OBJECT, **form.parameters, "x-guidance": _SPACES})
            pieces = f"{self._literal(form.before)} %json {schema} {self._literal(form.behind)}"
            lines.append(f"call_{number}: {pieces}")
        text = "\n".join(lines)
        return self._made(text, {"grammar": text})

    def _literal(self, text: str) -> str:
        """Text in the grammar's words, special tokens by their ids."""
        added = self._backend.get_added_tokens_decoder()
        special = {token.content: i for i, token in added.items() if token.special}
        words, rest = [], text
        while rest:
            found = [(at, name) for name in special if (at := rest.find(name)) >= 0]
            at, name = min(found, default=(len(rest), ""))
            words += [json.dumps(rest[:at])] if at else []
            words += [f"<[{special[name]}]>"] if name else []
            rest = rest[at + len(name) :]
        return " ".join(words)

    def _made(self, text: str, told: Mapping[str, Any]) -> Grammar:
        from llguidance import LLMatcher

        wrong = LLMatcher.validate_grammar(text, self._known)
        if wrong:
            raise _refused(wrong)
        return Made(self._known, text, told)


class Made:
    """A grammar, for us and in words for other engines.

    Attributes:
        told: {"json": schema} or {"grammar": text in llguidance's dialect of Lark}.
    """

    def __init__(self, known: Any, text: str, told: Mapping[str, Any]) -> None:
        self._known, self._text, self.told = known, text, told

    def begin(self) -> Constraint:
        """Before the first token."""
        from llguidance import LLMatcher

        return _Place(LLMatcher(self._known, self._text))


class _Place:
    """How far one answer has come."""

    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher

    def mask(self, logits_V: Tensor) -> Tensor:
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        self._check()
        count = len(logits_V)
        allowed = np.zeros(count, dtype=bool)
        known = np.unpackbits(bits, bitorder="little")[:count]
        allowed[: len(known)] = known
        mask_V = torch.from_numpy(allowed).to(logits_V.device)
        return logits_V.masked_fill(~mask_V, float("-inf"))

    def take(self, token_id: int) -> None:
        self._matcher.consume_token(token_id)
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            got = " ".join(self._matcher.get_error().split())
            raise ModelError("grammar", got=got, need="an answer that can go on")


class AfterThought:
    """A grammar that holds from the end of a thought on.

    Args:
        grammar: of what follows.
        backend: makes text of ids.
        closed: what closes the thought.
    """

    def __init__(self, grammar: Grammar, backend: tokenizers.Tokenizer, closed: str) -> None:
        self._grammar, self._backend, self._closed = grammar, backend, closed

    def begin(self) -> Constraint:
        """Within the thought."""
        return _Thinking(self._grammar.begin(), self._backend, self._closed)


class _Thinking:
    def __init__(self, then: Constraint, backend: tokenizers.Tokenizer, closed: str) -> None:
        self._then, self._backend, self._closed = then, backend, closed
        self._ids: list[int] = []
        self._done = False

    def mask(self, logits_V: Tensor) -> Tensor:
        return self._then.mask(logits_V) if self._done else logits_V

    def take(self, token_id: int) -> None:
        if self._done:
            self._then.take(token_id)
            return
        self._ids.append(token_id)
        said = self._backend.decode(self._ids[-32:], skip_special_tokens=False)
        self._done = self._closed in said


def _refused(why: str) -> TemplateError:
    return TemplateError(
        "schema", got=" ".join(why.split()), need="a JSON Schema that an answer can be held to"
    )
