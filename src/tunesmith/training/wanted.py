"""What a template asks of a tokenizer, in the doctor's words."""

from __future__ import annotations

from dataclasses import replace

from tunesmith.config.run import Run
from tunesmith.errors import ConfigError
from tunesmith.models import doctor
from tunesmith.models.doctor import Wanted
from tunesmith.templates import OwnJinja, Renderer, Template
from tunesmith.templates.choose import MARK
from tunesmith.types import Conversation, Message, Tokenizer

_BOS = "\ue000"
_PROBE = Conversation((Message("user", "a"), Message("assistant", "b")))


def wanted(renderer: Renderer, tokenizer: Tokenizer) -> Wanted:
    """Stop words, control strings and bos of a template, bound to a tokenizer.

    A template that the model brings was made for it: none of its stop words is held to be one
    token.
    """
    own = isinstance(renderer, OwnJinja)
    spans = renderer.render(_PROBE)
    learned = "".join(span.text for span in spans if span.trained)
    words = renderer.stop_words
    control = renderer.control_text()
    return Wanted(
        name=renderer.name,
        stop_words=words,
        ends=() if own else tuple(word for word in words if word in learned),
        marks=tuple(dict.fromkeys(MARK.findall(control))),
        needs_bos=_begins_with_bos(renderer),
        endless=isinstance(renderer, Template) and not all(renderer.ends),
        open_ended=isinstance(renderer, Template) and renderer.format.open_ended,
    )


def _begins_with_bos(renderer: Renderer) -> bool:
    if isinstance(renderer, OwnJinja):
        return "bos_token" in renderer.source
    if not isinstance(renderer, Template):
        return False
    return _BOS in replace(renderer, bos=_BOS).control_text()


def check_tokenizer(
    run: Run, renderer: Renderer, tokenizer: Tokenizer, rows: int
) -> tuple[str, ...]:
    """The tokenizer's doctor, for a run: errors refuse it, warnings are told in the plan.

    Raises:
        ConfigError: tokenizer, model and template do not go together.
    """
    found = doctor.check(tokenizer, rows, wanted=wanted(renderer, tokenizer))
    for finding in found.errors[:1]:
        key = "template" if finding.what in ("stop word", "end") else "model_name_or_path"
        raise ConfigError(
            run.where(key),
            got=f"{finding.what}: {finding.found}",
            need=finding.consequence,
            hint=finding.todo,
        )
    told = " ".join(renderer.notes)
    return tuple(f.line() for f in found.warnings if not (f.what == "bos" and "bos" in told))
