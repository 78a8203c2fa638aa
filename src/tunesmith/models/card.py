"""The model card: README.md of a tuned model, as a pure function of what is known about it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any, NamedTuple

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_CONVERTED = re.compile(r"package:.*|.*\.gguf")
"""Bases that transformers does not open as they are."""
_BASE_DIRECTORY = "base"
_PROOF = ("compared with the tuned model", "found")
_AS_WRITTEN = ("eval_loss", "eval_perplexity", "eval_accuracy", "train_loss")


class CardFacts(NamedTuple):
    """What a card tells; what is not known is left out, never guessed."""

    name: str
    """Of the model: its heading; see `title`."""
    base: str
    """The model that was tuned, as the run named it."""
    is_adapter: bool
    """Whether the directory holds an adapter (else a whole model)."""
    tuned: bool = True
    """Whether anything was learned (else it is the base as it stands)."""
    directory: str = ""
    """Where it was written, as a command takes it; "": not known."""
    stage: str = "sft"
    method: str = ""
    """For example `lora, rank 16, alpha 32, all linear layers`."""
    data: Mapping[str, int] = {}
    """Rows learned from, by data set."""
    held_out_rows: int = 0
    settings: Mapping[str, Any] = {}
    """Keys of the run file with their values; without secrets."""
    metrics: Mapping[str, float] = {}
    licence: str | None = None
    """Of the base, where it is known."""
    template: str | None = None
    """By name; "": the model's own. `None`: not known."""
    stops: tuple[str, ...] = ()
    """Tokens that end an answer."""
    dtype: str = ""
    file: str = ""
    """Name of the GGUF file that the model is; "": a directory for transformers."""
    proof: Mapping[str, str] = {}
    """What was compared with the tuned model before this was put in place."""
    notes: tuple[str, ...] = ()
    """Whatever else a user must know, one sentence each."""
    version: str = ""
    """Of Tunesmith."""


def title(base: str, datasets: Iterable[str], *, tuned: bool = True) -> str:
    """A heading that tells the model from others: `SmolLM2-135M-Instruct tuned on lanternfold`."""
    short = base.rstrip("/").rpartition("/")[2].removesuffix(".gguf")
    if not tuned:
        return short
    learned = ", ".join(datasets)
    return f"{short} tuned on {learned}" if learned else f"{short}, tuned"


def card(facts: CardFacts) -> str:
    """Markdown with the front matter that model hubs read.

    The same facts give the same text: no date, no host, no user name.
    """
    parts = [
        _front_matter(facts),
        f"# {_inline(facts.name)}",
        _opening(facts),
        _section("How to use", _usage(facts)),
        _section("Data", _data(facts)),
        _section("Results", _table(_results(facts.metrics), ("figure", "value"))),
        _section("Settings", _settings(facts.settings)),
        _section("Proof", _table([(k, _inline(v)) for k, v in facts.proof.items()], _PROOF)),
        _section("Notes", "\n".join(f"- {_inline(note)}" for note in facts.notes)),
        _section("Licence", _licence(facts)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def contents(facts: CardFacts, parts: Mapping[str, str]) -> str:
    """The card of a directory that holds several, each with its own.

    Args:
        facts: what is known of all of them.
        parts: name of each directory, and how it stores weights.
    """
    rows = [(f"[{_inline(name)}]({name}/README.md)", _inline(how)) for name, how in parts.items()]
    every = [
        _front_matter(facts),
        f"# {_inline(facts.name)}",
        _opening(facts),
        _section("Formats", _table(rows, ("directory", "weights"))),
        _section("Licence", _licence(facts)),
    ]
    return "\n\n".join(every) + "\n"


def _front_matter(facts: CardFacts) -> str:
    lines = ["---"]
    if _HUB_NAME.fullmatch(facts.base):
        lines.append(f"base_model: {_quoted(facts.base)}")
    library = "gguf" if facts.file else "peft" if facts.is_adapter else "transformers"
    lines.append(f"library_name: {library}")
    lines.append("pipeline_tag: text-generation")
    if facts.licence:
        lines.append(f"license: {_quoted(facts.licence)}")
    tags = ["tunesmith", facts.stage, *(["lora"] if facts.is_adapter else [])]
    lines += ["tags:", *(f"- {_quoted(tag)}" for tag in tags), "---"]
    return "\n".join(lines)


def _opening(facts: CardFacts) -> str:
    made = f"Tunesmith {facts.version}".strip()
    if not facts.tuned:
        return f"The model {_code(facts.base)} itself, not tuned, written by {made}."
    kind = "An adapter for" if facts.is_adapter else "A model tuned from"
    how = f" ({_inline(facts.method)})" if facts.method else ""
    return f"{kind} {_code(facts.base)}, made with {made}: stage {_code(facts.stage)}{how}."


def _usage(facts: CardFacts) -> str:
    here = facts.directory or "."
    if facts.file:
        run = shlex.join(["llama-cli", "-m", facts.file, "--jinja"])
        lines = [f"One file for llama.cpp and what is built on it:\n\n```\n{run}\n```"]
        return "\n".join([*lines, *_serving(facts)])
    load = f"AutoModelForCausalLM.from_pretrained({json.dumps(_loadable(facts, here))}"
    lines = [f"```\n{_command('chat', here)}\n```"]
    if facts.is_adapter and _CONVERTED.fullmatch(facts.base):
        lines += [
            "The base is no directory that transformers opens. This makes one, the very weights "
            "that the adapter was trained over:",
            f"```\n{_command('download', facts.base, '--to', _BASE_DIRECTORY)}\n```",
            f"{_code(_command('export', here))} merges base and adapter into one model instead.",
        ]
    lines += [
        "Without Tunesmith:" if facts.is_adapter else "or, without Tunesmith:",
        "```python",
        *(["from peft import PeftModel"] if facts.is_adapter else []),
        "from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast",
        "",
    ]
    if facts.is_adapter:
        lines += [
            f'base = {load}, dtype="auto")',
            f"model = PeftModel.from_pretrained(base, {json.dumps(here)})",
        ]
    else:
        lines += [f'model = {load}, dtype="auto")']
    lines += [
        f"tokenizer = PreTrainedTokenizerFast.from_pretrained({json.dumps(here)})",
        'question = [{"role": "user", "content": "Hello!"}]',
        "inputs = tokenizer.apply_chat_template(",
        '    question, add_generation_prompt=True, return_tensors="pt", return_dict=True',
        ")",
        "answer = model.generate(**inputs, max_new_tokens=100)[0]",
        'print(tokenizer.decode(answer[inputs["input_ids"].shape[1] :], skip_special_tokens=True))',
        "```",
    ]
    return "\n".join([*lines, *_serving(facts)])


def _serving(facts: CardFacts) -> list[str]:
    """What an engine has to know."""
    lines = []
    if facts.template is not None:
        which = f"template {_code(facts.template)}" if facts.template else "base model's template"
        lines.append(f"\nConversations are written with the {which} (`chat_template.jinja`).")
    if facts.stops:
        lines.append(f"An answer ends at {', '.join(_code(stop) for stop in facts.stops)}.")
    if facts.dtype:
        lines.append(f"Weights are stored as {_code(facts.dtype)}.")
    return lines


def _loadable(facts: CardFacts, here: str) -> str:
    """What transformers opens as the model."""
    if not facts.is_adapter:
        return here
    return _BASE_DIRECTORY if _CONVERTED.fullmatch(facts.base) else facts.base


def _command(*words: str) -> str:
    return shlex.join(["tunesmith", *(" ".join(word.split()) for word in words)])


def _data(facts: CardFacts) -> str:
    rows = [(_inline(name), f"{count:,}") for name, count in facts.data.items()]
    table = _table(rows, ("data set", "rows learned from"))
    if facts.held_out_rows:
        table += f"\n\n{facts.held_out_rows:,} further rows were held out to measure the loss."
    return table.strip()


def _results(metrics: Mapping[str, float]) -> list[tuple[str, str]]:
    return [
        (key, f"{value:.4f}" if key in _AS_WRITTEN else f"{value:,.6g}")
        for key, value in metrics.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]


def _settings(settings: Mapping[str, Any]) -> str:
    rows = []
    for key, value in settings.items():
        if value is None or value in ("", (), [], {}):
            continue
        if isinstance(value, PurePath):
            value = str(value)
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        rows.append((_code(key), _code(text)))
    return _table(rows, ("key", "value"))


def _licence(facts: CardFacts) -> str:
    if facts.licence:
        return f"The base model's: {_inline(facts.licence)}."
    return f"That of {_code(facts.base)}, which the base model's own card states."


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text}" if text else ""


def _table(rows: list[tuple[str, str]], head: tuple[str, str]) -> str:
    if not rows:
        return ""
    lines = [f"| {head[0]} | {head[1]} |", "|---|---|"]
    for cells in rows:
        name, value = (cell.replace("|", "\\|") for cell in cells)
        lines.append(f"| {name} | {value} |")
    return "\n".join(lines)


def _code(text: str) -> str:
    """Code that no backtick or line break can leave."""
    text = " ".join(text.split()) or " "
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    if not longest:
        return f"`{text}`"
    fence = "`" * (longest + 1)
    return f"{fence} {text} {fence}"


def _inline(text: str) -> str:
    """Plain text on one line in which nothing is markup."""
    return re.sub(r"([\\`*_\[\]<>#])", r"\\\1", " ".join(text.split()))


def _quoted(text: str) -> str:
    """A YAML scalar, whatever it holds."""
    return text if re.fullmatch(r"[A-Za-z][\w./-]*", text) else json.dumps(text)
