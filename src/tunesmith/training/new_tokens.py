"""The tokens that a run adds: read from its keys, put into tokenizer and template, told in plans.

With `resize_vocab: true` the stop words of a named template that are no tokens are added too.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.config import yaml
from tunesmith.config.run import Run
from tunesmith.errors import ConfigError
from tunesmith.models.doctor import not_tokens
from tunesmith.models.vocabulary import Extended, extend, make_rows
from tunesmith.templates import Asked, OwnJinja, Renderer, choose
from tunesmith.types import Tokenizer


class Words(NamedTuple):
    """The tokenizer and template of a run, and what is new about them."""

    tokenizer: Tokenizer
    renderer: Renderer
    extended: Extended
    like: Mapping[str, list[int]]
    """Ids of the description of a new token, where there is one."""

    @property
    def token_ids(self) -> tuple[int, ...]:
        """Of the new tokens."""
        return tuple(token.id for token in self.extended.new)

    @property
    def fingerprint(self) -> str:
        """Of what is new and how its rows begin; empty where nothing is."""
        if not self.extended.new:
            return ""
        facts = [(token.token, token.id, self.like.get(token.token)) for token in self.extended.new]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    def make_rows(self, model: Any) -> None:
        """Give the new tokens their rows in a model, in place."""
        make_rows(model, self.extended, like=self.like)


def words(
    run: Run, tokenizer: Tokenizer, rows: int, *, today: datetime.date | None = None
) -> Words:
    """Tokenizer and template of a run, with the tokens that it adds.

    Args:
        run: what was asked.
        tokenizer: of the model, or of the adapter that is gone on with.
        rows: of the model's embedding.
        today: see `templates.choose`.

    Raises:
        ConfigError: a file of descriptions that cannot be read.
        ModelError: a token that cannot be added.
        TemplateError: see `templates.choose`.
    """
    described = _described(run)
    special = tuple(described) or run.model.add_special_tokens
    extended = extend(tokenizer, rows, plain=run.model.add_tokens, special=special)
    renderer = _renderer(run, extended.tokenizer, today)
    if run.model.resize_vocab and not isinstance(renderer, OwnJinja):
        stops = not_tokens(extended.tokenizer, renderer.stop_words)
        extended = extend(tokenizer, rows, plain=run.model.add_tokens, special=(*special, *stops))
        renderer = _renderer(run, extended.tokenizer, today)
    backend = tokenizer.backend
    like = {
        token.token: backend.encode(described[token.token], add_special_tokens=False).ids
        for token in extended.new
        if described.get(token.token)
    }
    return Words(extended.tokenizer if _changed(extended) else tokenizer, renderer, extended, like)


def notes(run: Run, found: Words, rows: int) -> list[str]:
    """What the plan says about new tokens.

    Args:
        run: what was asked.
        found: of `words`.
        rows: that the embedding had.
    """
    new = found.extended.new
    if not new:
        asked = run.model.resize_vocab
        return ["resize_vocab has nothing to act on: every token is there"] * asked
    listed = ", ".join(f"{token.token} (id {token.id})" for token in new)
    spare = sum(token.spare for token in new)
    how = f"{spare} in spare rows, {len(new) - spare} in new ones: {rows:,} rows"
    if found.extended.rows != rows:
        how += f" become {found.extended.rows:,}"
    method = run.method.finetuning_type
    learned = {
        "lora": "their rows of embedding and head are learned and saved with the adapter",
        "full": "their rows are learned with all others",
        "freeze": "their rows are learned only where freeze_extra_modules names the embedding",
    }
    return [f"new tokens {listed}; {how}; {learned[method]}"]


def refuse_more(run: Run, found: Words) -> None:
    """An adapter that is gone on with has the tokens that it has.

    Raises:
        ConfigError: the run adds others.
    """
    if found.extended.new:
        key = next(k for k in (*_KEYS, "resize_vocab") if run.asked.get(k))
        raise ConfigError(
            run.where(key), got=", ".join(token.token for token in found.extended.new),
            need="no token that the adapter that is gone on with has not",
            hint="create_new_adapter: true merges it and starts a new one",
        )  # fmt: skip


_KEYS = ("new_special_tokens_config", "add_special_tokens", "add_tokens")


def _changed(extended: Extended) -> bool:
    return bool(extended.new or extended.known)


def _renderer(run: Run, tokenizer: Tokenizer, today: datetime.date | None) -> Renderer:
    asked = Asked.of(run.dataset)
    return choose(run.dataset.template, tokenizer, asked, today=today, where=run.where)


def _described(run: Run) -> dict[str, str]:
    """Token to description, from the file that the run names.

    Raises:
        ConfigError: it cannot be read, or holds something else.
    """
    path = run.model.new_special_tokens_config
    if path is None:
        return {}
    try:
        text = Path(path).read_text(encoding="utf8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            run.where("new_special_tokens_config"),
            got=f"{path}: {getattr(error, 'strerror', None) or error}",
            need="a YAML file of `token: description` lines",
        ) from None
    entries = yaml.read(text, str(path))
    for token, entry in entries.items():
        if not isinstance(entry.value, str):
            raise ConfigError(
                f"{path}:{entry.line}: {token}", got=entry.value,
                need="a description of the token as text",
            )  # fmt: skip
    return {token: entry.value for token, entry in entries.items()}
