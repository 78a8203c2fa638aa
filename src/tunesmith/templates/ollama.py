"""A template written as an Ollama Modelfile: the Go template that renders the same text.

What Ollama (github.com/ollama/ollama, read at 0.13) does, as far as it is relied on here:

- A template that names `.Messages` is executed once with `.System` (all system messages
  joined), `.Messages` (`.Role` system, user, assistant or tool, `.Content`, `.Thinking`,
  `.ToolCalls` with `.Function.Name` and `.Function.Arguments`), `.Tools`, `.Think` and
  `.IsThinkSet`. Neighbours of one role are joined, tool results are not.
- Functions are those of Go's text/template and `json`, `currentDate`; nothing searches or cuts
  text at a mark, so that earlier thoughts inside `.Content` stay where they are.
- A template that names `.Tools` makes a model one that can call tools; one that names
  `.Thinking` makes it one that thinks: the server cuts the thought off an answer by the text
  around `.Thinking`, and hands it back in that field.
- Calls in an answer are sought by the first text behind the first condition on `.ToolCalls`, up
  to a brace; if that is nothing, by a brace. Where it is a brace or a bracket, the answer has to
  begin with it. Behind it, the name of a tool and an object in JSON are a call.
- Of a tool it keeps the type, name, description and parameters (type, required, properties with
  type, description, enum and items); arguments and properties come sorted by name, numbers as
  Go prints them (1.0 is 1). Tools and calls that are written so in the data read the same.
- Of a directory after FROM, the begin token is put before a prompt where `add_bos_token` of
  tokenizer_config.json says so; ours do not, so that it stands there once, by the template.
- A value of a Modelfile in triple quotes is taken as it stands, but for characters that cannot
  be printed, which are dropped. There is no escape inside quotes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tunesmith.templates import go_source as go
from tunesmith.templates.format import Later, Round, Text, Thinking
from tunesmith.types import Call

if TYPE_CHECKING:
    from tunesmith.templates.format import Turn
    from tunesmith.templates.render import Template

_SAMPLING = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "repetition_penalty": "repeat_penalty",
}
"""Keys of a generation config -> parameters of a Modelfile."""
_CALL = Call("some_tool", "{}")
_BEGINS = (
    "The template writes the begin token: of a GGUF file that was made elsewhere, "
    "tokenizer.ggml.add_bos_token has to be false."
)
CONVERTED = (
    *("LlamaForCausalLM", "Qwen2ForCausalLM", "MixtralForCausalLM", "Phi3ForCausalLM"),
    *("GemmaForCausalLM", "Gemma2ForCausalLM", "Gemma3ForCausalLM", "CohereForCausalLM"),
    *("Olmo3ForCausalLM", "Lfm2ForCausalLM", "DeepseekV3ForCausalLM", "GptOssForCausalLM"),
)
"""Architectures whose safetensors `ollama create` reads; others need a GGUF file after FROM."""


def source(template: Template) -> str:
    """Go template that renders conversations as `template.render` does.

    An answer at the end is closed as in training. A system text that the template cannot
    express is an error when it is rendered.
    """
    return "".join(_Writer(template).parts())


def modelfile(
    template: Template,
    *,
    base: str,
    stops: Sequence[str],
    num_ctx: int,
    sampling: Mapping[str, Any],
) -> str:
    """Text of a Modelfile.

    Args:
        template: bound to the tokenizer of the model.
        base: model or directory after FROM.
        stops: strings that end an answer.
        num_ctx: tokens of the context.
        sampling: a generation config; keys that Ollama has no parameter for are passed over.
    """
    lines = [f"FROM {base}", ""]
    lines += [f"# {note}" for note in notes(template, stops)]
    if template.bos and template.bos in template.control_text():
        lines.append(f"# {_BEGINS}")
    lines += [f'TEMPLATE """{source(template)}"""', "", f"PARAMETER num_ctx {num_ctx}"]
    lines += [f"PARAMETER stop {_in_quotes(stop)}" for stop in stops if _can_stand(stop)]
    chosen = {key: sampling.get(key) for key in _SAMPLING}
    if sampling.get("do_sample") is False:
        chosen = {"temperature": 0}
    for key, number in chosen.items():
        if isinstance(number, int | float) and not isinstance(number, bool):
            lines.append(f"PARAMETER {_SAMPLING[key]} {number}")
    return "\n".join(lines) + "\n"


def notes(template: Template, stops: Sequence[str] = ()) -> tuple[str, ...]:
    """What the Modelfile cannot do, one line each."""
    out = []
    name = template.tool_name
    if name is None:
        out.append("without tools: the template cannot express them")
    elif template.tool_syntax.GO_DESCRIBE is None:
        out.append(f"without tools: Go templates cannot write the tool format {name}")
    elif found := _found_by_ollama(template):
        out.append(f"calls: {name} begins them without a mark, so Ollama finds {found}")
    marks = template.format.thinking
    if marks is not None and not (template.preserve_thinking or marks.history == "keep"):
        cut = "Go templates cannot cut an earlier thought out of the content of a message"
        out.append(f"thoughts: {cut}; send it as `thinking`, or not at all")
    out += [f"stop {stop!r} cannot be written" for stop in stops if not _can_stand(stop)]
    return tuple(out)


def lacks(template: Template, stops: Sequence[str] = ()) -> tuple[str, ...]:
    """What of the template a Modelfile leaves out, where Go's templates cannot express it."""
    out = []
    if template.tool_name is not None and template.tool_syntax.GO_DESCRIBE is None:
        out.append(f"Go templates cannot write the tool format {template.tool_name}")
    return (*out, *(f"stop {stop!r} cannot be written" for stop in stops if not _can_stand(stop)))


def _found_by_ollama(template: Template) -> str:
    """Which calls Ollama finds in answers, where it is not all of them."""
    calling = template.format.roles.function
    lead = template.text(calling.lead) if calling else ""
    one = lead + "".join(span.text for span in template.tool_syntax.write((_CALL,)))
    mark = one.partition(_CALL.name)[0].partition("{")[0].strip()
    if mark not in ("", "["):
        return ""
    if mark:
        return "them only where they are the whole answer"
    if one.startswith(_CALL.name):
        return "none that begins an answer: it stays text"
    return "one call that is the whole answer, and no other"


def _can_stand(stop: str) -> bool:
    return '"""' not in stop and all(sign.isprintable() or sign in "\n\t" for sign in stop)


def _in_quotes(stop: str) -> str:
    return f'"""{stop}"""' if '"' in stop else f'"{stop}"'


_NO_TOOLS = "{{ $system.this_template_cannot_express_the_result_of_a_tool }}"


class _Writer:
    """The parts of one template's Go source, in order."""

    def __init__(self, template: Template) -> None:
        self.template, self.format = template, template.format
        self.roles, self.marks = template.format.roles, template.format.thinking
        self.inside = template.format.system_style == "inside_first_user"
        self.observation = self.roles.observation or self.roles.user
        self.describe = template.tool_syntax.GO_DESCRIBE
        self.counts = any(isinstance(p, Round | Later) for p in template._all_pieces())
        self.thinks = self.marks is not None and template.enable_thinking is True

    def parts(self) -> list[str]:
        """What is said once, the turns, and what ends a prompt."""
        result = self._asking(self.observation) if self.template.tool_name else _NO_TOOLS
        turns = go.when('eq .Role "user"', self._asking(self.roles.user))
        turns += go.when('eq .Role "tool"', result)
        turns += go.when('eq .Role "assistant"', self._answer())
        eos = go.text(self.template.eos) if self.format.efficient_eos else ""
        return [
            go.DEFINITIONS if self.describe is not None else "",
            self._variables(),
            self._text(self.format.prefix),
            "" if self.inside else self._system_turn(),
            go.each("$number, $message := .Messages", turns),
            go.when("$asking", self._header() + self._silenced(), otherwise=eos),
        ]

    def _variables(self) -> str:
        default = self.template.system
        system = f"or .System {go.quoted(default)}" if default else ".System"
        found = [f"$system := {system}", "$asking := true"]
        if self.inside:
            found.append("$first := true")
        if self.counts:
            found.append('$round := ""')
        if self.observation.then is not None:
            found.append(f"$header := {go.quoted(self._plain(self.roles.assistant.open))}")
        if self.marks is not None:
            found += ["$last := -1", "$asked := -1"]
        out = "".join(f"{{{{ {one} }}}}" for one in found)
        if self.marks is None:
            return out
        asked = go.when('eq $message.Role "user"', "{{ $asked = $number }}")
        return out + go.each("$number, $message := .Messages", "{{ $last = $number }}", asked)

    def _system_turn(self) -> str:
        """The system text and the tools, where there are any."""
        turn = self.roles.system
        shown = "$system" if self.describe is None else "or $system $.Tools"
        if self.inside:
            shown = f"and $first ({shown})" if " " in shown else f"and $first {shown}"
        if turn is None:
            return go.when(shown, "{{ $system.this_template_cannot_express_a_system_text }}")
        said = "{{ $system }}"
        if self.describe is not None:
            said += go.when("$.Tools", self._tools(self.describe))
        whole = self._text(turn.open) + said + self._text((*turn.stop, *turn.after))
        always = self.format.system_always and not self.inside
        return whole if always else go.when(shown, whole)

    def _tools(self, describe: str) -> str:
        """The description of the tools and what stands around it."""
        around = self.format.tools
        closed = self._text((*around.stop, *around.after))
        whole = self._text(around.open) + describe + closed
        rest = whole.lstrip("\n")  # line breaks are plain text in Go source too
        breaks = whole.removesuffix(rest)
        if not self.format.trim_tools or not breaks:
            return whole
        return go.when("$system", breaks) + rest

    def _asking(self, turn: Turn) -> str:
        out = self._text(turn.open)
        if self.inside and turn is self.roles.user:
            out += self._system_turn() + "{{ $first = false }}"
        out += "{{ .Content }}" + self._text((*turn.stop, *turn.after)) + "{{ $asking = true }}"
        if self.counts:
            out += '{{ $round = printf "%s." $round }}'
        if self.observation.then is not None:
            header = self.roles.assistant.open if turn.then is None else turn.then
            out += f"{{{{ $header = {go.quoted(self._plain(header))} }}}}"
        return out

    def _header(self) -> str:
        if self.observation.then is not None:
            return "{{ $header }}"
        return self._text(self.roles.assistant.open)

    def _silenced(self) -> str:
        """What ends a prompt to keep the model from thinking."""
        if self.marks is None:
            return ""
        none = go.text(self.marks.none)
        return go.when("and .IsThinkSet (not .Think)", none) if self.thinks else none

    def _answer(self) -> str:
        turn, calling = self.roles.assistant, self.roles.function
        unthought = ""
        said = "{{ .Content }}"
        if self.marks is not None:
            given = go.text(self.marks.none)
            not_thought = "and (eq $number $last) (not .Thinking)" if self.thinks else (
                "eq $number $last"
            )  # fmt: skip
            unthought = go.when(not_thought, given)
            said = self._thought(self.marks) + said
        before = self._header() + unthought + "{{ $asking = false }}"
        lead, closed = self._text(turn.lead), self._closing(turn)
        if self.describe is None:
            return before + lead + said + closed
        # by way of `$message`: the first condition on `.ToolCalls` is where Ollama seeks the mark
        opened = "" if calling is None else self._text(calling.lead)
        parting = go.text(self.format.between or "")
        if parting and opened:
            opened += go.when(".Content", parting)
        elif parting:
            said += go.when("and .Content $message.ToolCalls", parting)
        if calling is None:
            return before + lead + said + self._calls("") + closed
        ended = self._closing(calling)
        called = self._calls(opened) + ended
        plain = go.when("not $message.ToolCalls", lead) if lead else ""
        return before + plain + said + go.when(".ToolCalls", called, otherwise=closed)

    def _calls(self, before: str) -> str:
        syntax = self.template.tool_syntax
        if syntax.BETWEEN and self.format.between is None:
            parted = go.when(go.ends_in(".Content", "\n", ">"), otherwise=go.text(syntax.BETWEEN))
            before += go.when(".Content", parted)
        return go.when(".ToolCalls", before, syntax.GO_WRITE or "")

    def _closing(self, turn: Turn) -> str:
        """What ends an answer; an earlier one may end otherwise."""
        stop, after = self._text(turn.stop), self._text(turn.after)
        if self.marks is not None and self.marks.earlier.stop:
            stop = go.when("eq $number $last", stop, otherwise=go.text(self.marks.earlier.stop))
        return stop + after

    def _thought(self, marks: Thinking) -> str:
        """A thought that is shown, or what stands for none in an earlier answer.

        The server leaves the last line break of a thought in the field.
        """
        history = "keep" if self.template.preserve_thinking else marks.history
        shown = {
            "strip": "and .Thinking (eq $number $last)",
            "since_user": "and .Thinking (gt $number $asked)",
            "keep": ".Thinking",
        }[history]
        lead = marks.earlier.lead and go.when("ne $number $last", go.text(marks.earlier.lead))
        if not self.thinks:
            return lead
        close = marks.close
        ended = ""
        if close.startswith("\n"):
            close = close.removeprefix("\n")
            ended = go.when(go.ends_in(".Thinking", "\n"), otherwise="\n")
        thought = (go.text(marks.open), "{{ .Thinking }}", ended, go.text(close))
        return go.when(shown, *thought, otherwise=lead)

    def _plain(self, pieces: Text) -> str:
        return self.template.text(pieces)

    def _text(self, pieces: Text) -> str:
        """Pieces of the file as Go source."""
        out = plain = ""
        for piece in pieces:
            if isinstance(piece, Round):
                start = go.quoted("." * piece.round)
                out += go.text(plain) + f'{{{{ len (printf "%s%s" {start} $round) }}}}'
                plain = ""
            elif isinstance(piece, Later):
                out += go.text(plain) + go.when("$round", go.text(piece.later))
                plain = ""
            else:
                plain += self.template.text((piece,))
        return out + go.text(plain)
