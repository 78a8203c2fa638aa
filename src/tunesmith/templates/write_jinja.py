"""A template written as a Jinja chat template, for whoever serves the model elsewhere.

Only expressions, statements and escaped string literals: no raw text, so that the settings
of an engine (trim_blocks and the like) make no difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunesmith.templates.format import Later, Round, Special, Text, Thinking, Token
from tunesmith.templates.jinja_source import each, literal, put, when
from tunesmith.templates.layout import between_results
from tunesmith.templates.tools import refusal

if TYPE_CHECKING:
    from tunesmith.templates.format import Turn
    from tunesmith.templates.render import Template

_ALTERNATE = "Conversation roles must alternate: user, assistant, user, assistant ..."


def source(template: Template) -> str:
    """Jinja that renders conversations as `template.render` does.

    It takes `messages` (with an optional system message first), `tools`,
    `add_generation_prompt` and, of a template with thoughts, `enable_thinking`; it refuses what
    the template refuses. The texts of bos and eos are written out, so that it does not depend
    on the tokenizer's configuration.
    """
    return "".join(_Writer(template).parts())


class _Writer:
    """The parts of one template's Jinja, in order."""

    def __init__(self, template: Template) -> None:
        self.template, self.format = template, template.format
        self.roles, self.marks = template.format.roles, template.format.thinking
        self.inside = template.format.system_style == "inside_first_user"

    def parts(self) -> list[str]:
        """Everything before the turns, the turns, and what ends a prompt."""
        answer = self.format.roles.assistant
        end = _put(literal(self.template.eos)) if self.format.efficient_eos else ""
        return [
            "{%- if messages and messages[0]['role'] == 'system' %}"
            "{%- set system = messages[0]['content'] %}{%- set turns = messages[1:] %}"
            "{%- else %}{%- set system = '' %}{%- set turns = messages %}{%- endif %}",
            self._results(),
            when("not system", f"{{%- set system = {literal(self.template.system)} %}}"),
            self._tools(),
            f"{{%- set now = namespace(header={self._text(answer.open)}, asked=-1) %}}",
            self._thinking(),
            _put(self._text(self.format.prefix)),
            self._system_turn() if not self.inside else "",
            each("message", "turns", self._turn()),
            "{%- if add_generation_prompt %}{{- now.header }}",
            self._silenced(),
            f"{{%- else %}}{end}{{%- endif %}}",
        ]

    def _results(self) -> str:
        """Make one turn of the results of parallel calls, which clients send one by one."""
        if not self.template.tool_name:
            return ""
        last, between = "now.turns[-1]", literal(between_results(self.format, self.template.text))
        both = f"({last}['content'] or '') + {between} + (message['content'] or '')"
        joined = f"now.turns[:-1] + [{{'role': 'tool', 'content': {both}}}]"
        follows = f"message['role'] == 'tool' and now.turns and {last}['role'] == 'tool'"
        added = f"{joined} if {follows} else now.turns + [message]"
        return (
            "{%- set now = namespace(turns=[]) %}"
            + each("message", "turns", f"{{%- set now.turns = {added} %}}")
            + "{%- set turns = now.turns %}"
        )

    def _tools(self) -> str:
        around = self.format.tools
        opened, closed = self._text(around.open), self._text((*around.stop, *around.after))
        return when(
            "tools",
            "{%- set described %}",
            _put(opened),
            self.template.tool_syntax.JINJA_DESCRIBE,
            _put(closed),
            "{%- endset %}",
            self._trimmed(),
            "{%- set system = system + described %}",
        )

    def _trimmed(self) -> str:
        if not self.format.trim_tools:
            return ""
        return when("not system", "{%- set described = described.lstrip('\\n') %}")

    def _thinking(self) -> str:
        """Whether thoughts are shown, and the place of the last question."""
        if self.marks is None:
            return ""
        default = {True: "true", False: "false", None: "none"}[self.template.enable_thinking]
        asked = when("message['role'] == 'user'", "{%- set now.asked = loop.index0 %}")
        return (
            "{%- set thinking = enable_thinking if enable_thinking is defined else "
            f"{default} %}}{each('message', 'turns', asked)}"
        )

    def _silenced(self) -> str:
        if self.marks is None:
            return ""
        return when("thinking is not true", _put(literal(self.marks.none)))

    def _system_turn(self) -> str:
        turn = self.roles.system
        if turn is None:
            need = literal("This template cannot express a system message.")
            return when("system", put(f"raise_exception({need})"))
        said = _put(self._around(turn, "system"))
        return said if self.format.system_always else when("system", said)

    def _turn(self) -> str:
        """One message, whoever speaks."""
        wrong = literal(_ALTERNATE)
        unknown = "{{- raise_exception('Unknown role: ' + message['role']) }}"
        return "".join(
            (
                "{%- set content = message['content'] or '' %}",
                when(
                    "(message['role'] == 'assistant') != (loop.index0 % 2 == 1)",
                    put(f"raise_exception({wrong})"),
                ),
                "{%- if message['role'] == 'user' %}",
                self._asking(self.roles.user, first=True),
                "{%- elif message['role'] == 'tool' %}",
                self._asking(self.roles.observation or self.roles.user, first=False)
                if self.template.tool_name
                else refusal.JINJA_DESCRIBE,
                "{%- elif message['role'] == 'assistant' %}",
                self._answer(),
                f"{{%- else %}}{unknown}{{%- endif %}}",
            )
        )

    def _asking(self, turn: Turn, *, first: bool) -> str:
        before = ""
        if self.inside and first:
            before = when("loop.first", self._system_turn())
        elif self.inside:
            need = literal("The system message needs a user turn first.")
            before = when("loop.first and system", put(f"raise_exception({need})"))
        header = self.roles.assistant.open if turn.then is None else turn.then
        return "".join(
            (
                _put(self._text(turn.open)),
                before,
                _put(self._joined("content", self._text((*turn.stop, *turn.after)))),
                f"{{%- set now.header = {self._text(header)} %}}",
            )
        )

    def _answer(self) -> str:
        """An answer: as it was given if it is the last, else as the history shows it."""
        turn = self.roles.assistant
        calls = self.roles.function
        lead = self._text(turn.lead)
        none = ""
        before = "{{- now.header }}"
        if self.marks is not None:
            before = self._thoughts(self.marks) + before
            none = _put("unthought")
        if calls is None:
            body = _put(self._joined(lead, "content")) + self._calls("")
            return before + none + body + _put(self._closing(turn))
        plain = _put(self._joined(lead, "content", self._closing(turn)))
        calling = "{{- content }}" + self._calls(_put(self._text(calls.lead)))
        calling += _put(self._closing(calls))
        either = f"{{%- if message['tool_calls'] %}}{calling}{{%- else %}}{plain}{{%- endif %}}"
        return before + none + either

    def _closing(self, turn: Turn) -> str:
        """What ends an answer, as an expression; an earlier one may end otherwise."""
        if self.marks is None or not self.marks.earlier.stop:
            return self._text((*turn.stop, *turn.after))
        stop = f"({self._text(turn.stop)} if given else {literal(self.marks.earlier.stop)})"
        return self._joined(stop, self._text(turn.after))

    def _calls(self, before: str) -> str:
        syntax = self.template.tool_syntax
        if self.format.between:
            said = "content"
            if self.marks is not None:
                said = f"content.split({literal(self.marks.close.strip())})[-1].lstrip('\\n')"
            before += when(said, put(literal(self.format.between)))
        elif syntax.BETWEEN and self.format.between is None:
            parted = "not content or content[-1:] in ['\\n', '>']"
            before += when(f"not ({parted})", put(literal(syntax.BETWEEN)))
        return when("message['tool_calls']", before, syntax.JINJA_WRITE)

    def _thoughts(self, marks: Thinking) -> str:
        """Set `content` without a thought that is not shown, and `none` where there is none."""
        opened, closed = literal(marks.open.strip()), literal(marks.close.strip())
        history = "keep" if self.template.preserve_thinking else marks.history
        kept = {"strip": "false", "keep": "true", "since_user": "loop.index0 > now.asked"}[history]
        without = (
            f"content.split({opened}, 1)[0].rstrip('\\n') + "
            f"content.split({closed})[-1].lstrip('\\n')"
        )
        whole = f"{opened} in content and {closed} in content.split({opened}, 1)[1]"
        given = "(loop.last and not add_generation_prompt)"
        lead = literal(marks.earlier.lead)
        return "".join(
            (
                f"{{%- set given = {given} %}}",
                when(
                    f"(thinking is false or not (given or {kept})) and {whole}",
                    f"{{%- set content = {without} %}}",
                ),
                f"{{%- set unthought = ({literal(marks.none)} if given else {lead}) "
                f"if not ({opened} in content or {closed} in content) else '' %}}",
            )
        )

    def _around(self, turn: Turn, words: str) -> str:
        closed = self._text((*turn.stop, *turn.after))
        return self._joined(self._text(turn.open), words, closed)

    def _joined(self, *parts: str) -> str:
        return " + ".join(part for part in parts if part != "''") or "''"

    def _text(self, pieces: Text) -> str:
        """Pieces of the file as a Jinja expression."""
        out: list[str] = []
        plain = ""
        for piece in pieces:
            if isinstance(piece, Round):
                out += [literal(plain), f"(loop.index0 // 2 + {piece.round}) | string"]
                plain = ""
            elif isinstance(piece, Later):
                out += [literal(plain), f"({literal(piece.later)} if loop.index0 else '')"]
                plain = ""
            else:
                assert isinstance(piece, str | Special | Token), "a piece of another kind"
                plain += self.template.text((piece,))
        out.append(literal(plain))
        return " ~ ".join(part for part in out if part != "''") or "''"


def _put(expression: str) -> str:
    return "" if expression == "''" else put(expression)
