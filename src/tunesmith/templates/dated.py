"""A model's own Jinja on a fixed day, for templates that print the date by `strftime_now`."""

from __future__ import annotations

import datetime
from typing import Any

from tunesmith.templates.jinja import OwnJinja
from tunesmith.templates.trace import Trace
from tunesmith.types import Conversation, Tokenizer


class DatedJinja(OwnJinja):
    """The same template, whose clock stands at the first moment of a day.

    Args:
        source: the template.
        tokenizer: whose tokens it is rendered with.
        today: the day.
        keys: further ones of `OwnJinja`.
    """

    def __init__(
        self, source: str, tokenizer: Tokenizer, *, today: datetime.date, **keys: Any
    ) -> None:
        self._day = today
        clock = datetime.datetime.combine(today, datetime.time())

        def strftime_now(pattern: str) -> str:
            return clock.strftime(pattern)

        self._now = strftime_now  # a function: the sandbox lets no method of a date be called
        super().__init__(source, tokenizer, **keys)

    @property
    def today(self) -> datetime.date:
        """The day that its clock shows."""
        return self._day

    def text(
        self,
        conversation: Conversation,
        *,
        prompting: bool,
        trace: Trace | None = None,
        **facts: object,
    ) -> str:
        """The template's text on that day; `facts` go before it."""
        facts = {"strftime_now": self._now, **facts}
        return super().text(conversation, prompting=prompting, trace=trace, **facts)
