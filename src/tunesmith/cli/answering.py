"""A run's model made ready to answer: what `chat`, `eval`, `export` and `quickstart` share."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tunesmith.cli.target import Served, Trained, served, trained
from tunesmith.config.run import Run
from tunesmith.data.media.feed import Feed
from tunesmith.data.media.marks import marked
from tunesmith.data.media.render import Seeing
from tunesmith.data.tokenize import encode_prompt
from tunesmith.errors import ConfigError, TemplateError
from tunesmith.infer.hf import Engine
from tunesmith.infer.sampling import Sampling, read_generation_config, resolve
from tunesmith.infer.stream import left_out
from tunesmith.models import tokenizer as tokenizers
from tunesmith.models.adapter_rows import last_id, tokenizer_directory
from tunesmith.models.lineage import belongs
from tunesmith.templates import Asked, OwnJinja, Renderer, Template, choose, has_marks, spelled
from tunesmith.templates.call_form import call_form, calls_begin
from tunesmith.templates.calls import function_of, read_tools
from tunesmith.templates.choose import is_here
from tunesmith.templates.format import Thinking
from tunesmith.templates.parse import parse
from tunesmith.templates.spelled import in_answers, leads, takes_thoughts
from tunesmith.templates.spelled import marks as marks_of
from tunesmith.templates.thoughts import without_thought
from tunesmith.training.material import fetch
from tunesmith.training.seeing import seen_by
from tunesmith.types import Conversation, Message, Seen, Tokenizer

if TYPE_CHECKING:
    from tunesmith.compute.precision import Precision
    from tunesmith.data.media.family import Family
    from tunesmith.infer.chat import Read
    from tunesmith.infer.grammar import CallForm
    from tunesmith.serve.reading import Style

_WORDING = ("template", *Asked._fields, "split_special_tokens")
"""Keys that decide which ids a conversation becomes."""


class Found(NamedTuple):
    """Everything that a model needs to answer, but its weights."""

    served: Served
    directory: Path
    """Of the base model."""
    adapters: tuple[Path, ...]
    tokenizer: Tokenizer
    renderer: Renderer
    split_special_tokens: bool
    """As in training: whether the strings of control tokens in what is said stay words."""
    notes: tuple[str, ...]
    """What a user has to know before trusting an answer."""
    family: Callable[[], Family]
    """What the model makes of media; found where a conversation has any."""

    def encode(self, conversation: Conversation) -> list[int]:
        """Conversation to prompt ids, by the function that training uses."""
        split = self.split_special_tokens
        renderer: Renderer = self.renderer
        if conversation.media:
            renderer, conversation = Seeing(renderer, self.family()), marked(conversation)
        return encode_prompt(conversation, renderer, self.tokenizer, split_special_tokens=split)

    def see(self, conversation: Conversation, ids: Sequence[int]) -> Seen | None:
        """What the model takes of the media of a conversation whose prompt has these ids."""
        family = self.family()
        spans = Seeing(self.renderer, family).render(
            marked(conversation), add_generation_prompt=True
        )
        order = [span.medium for span in spans if span.medium is not None]
        return Feed(family).prompt(ids, [conversation.media[number] for number in order])

    def read(self, engine: Engine, tools: str | None) -> Read:
        """How its answers are read: as messages of rows, with their calls where there are tools.

        Raises:
            TemplateError: the tools are no JSON, or the template cannot say which there are;
                calls of a Jinja template in a syntax that is not known.
        """
        template = self.renderer if isinstance(self.renderer, Template) else None
        if tools is None:
            said = template.said if template else self._said
            return lambda answer: (said(answer.text), ())
        self.encode(Conversation((Message("user", "a"),), None, tools))
        template = template or _parsed(self)
        marked = engine.marking((*in_answers(self.renderer), *in_answers(template)))
        return lambda answer: template.read(marked.text(answer.ids))

    def _said(self, text: str) -> str:
        """An answer under the model's own Jinja, as that takes it in later prompts."""
        lead = next(filter(text.startswith, leads(self.renderer)), "")
        words = text.removeprefix(lead)
        if takes_thoughts(self.renderer):
            return words
        opened, closed = marks_of(self.renderer)
        return without_thought(words, Thinking(open=opened, close=closed))

    def spoken(self, conversation: Conversation) -> list[int]:
        """As `encode`, of a conversation that may say what was thought."""
        thoughts = any(message.thought for message in conversation.messages)
        if thoughts and not takes_thoughts(self.renderer):
            messages = tuple(message._replace(thought="") for message in conversation.messages)
            conversation = conversation._replace(messages=messages)
        return self.encode(spelled(conversation, self.renderer))

    def style(self, tools: str | None) -> Style:
        """How its answers are read while they come, where these tools are given.

        Raises:
            TemplateError: see `read`.
        """
        from tunesmith.serve.reading import Style

        marks = marks_of(self.renderer) if has_marks(self.renderer) else None
        template = self.renderer if isinstance(self.renderer, Template) else None
        before, written = leads(self.renderer), in_answers(self.renderer)
        backend = self.tokenizer.backend
        if tools is None:
            return Style(marks, before, skipped=left_out(backend, written))
        self.encode(Conversation((Message("user", "a"),), None, tools))
        template = template or _parsed(self)
        skipped = left_out(backend, (*written, *in_answers(template)))
        call = calls_begin(template, tools)
        return Style(marks, before, call=call, read=template.read, skipped=skipped)

    def call_forms(self, tools: str) -> list[CallForm]:
        """How each tool is called.

        Raises:
            TemplateError: see `read` and `templates.call_form`.
        """
        from tunesmith.infer.grammar import CallForm

        template = self.renderer if isinstance(self.renderer, Template) else _parsed(self)
        found = []
        for tool in map(function_of, read_tools(tools, "tools")):
            before, behind = call_form(template, tools, str(tool["name"]))
            found.append(CallForm(before, tool.get("parameters") or {}, behind))
        return found

    def engine(self, model: Any) -> Engine:
        """The default engine over a loaded model."""
        return Engine(
            model,
            self.tokenizer,
            encode=self.encode,
            stop_words=self.renderer.stop_words,
            see=self.see,
            marks=in_answers(self.renderer),
        )


def find(
    run: Run, report: Any, *, meant: Served | None = None, on_the_day_of_training: bool = False
) -> Found:
    """The trained model of a run where there is one, else what the file names.

    Args:
        run: what was asked.
        report: what the user sees while models are fetched.
        meant: other weights than those of the run.
        on_the_day_of_training: for rows that were learned or held out then: a template that
            prints the date prints that of the training, not today's.

    Raises:
        Error: a model, adapter or template that cannot be used.
    """
    meant = meant or served(run)
    directory, *paths = (fetch(run, name, report) for name in (meant.model, *meant.adapters))
    held, mismatch = str(run.model.quantization or ""), run.model.adapter_mismatch
    other = belongs(directory, meant.model, paths, quantization=held, mismatch=mismatch)
    place = tokenizer_directory(directory, paths)
    tokenizer = tokenizers.load(place, trust_remote_code=run.model.trust_remote_code)
    before = trained((paths or [directory])[-1])
    wording, notes = _as_trained(run, before, (paths or [directory])[-1])
    today = before.day if before and on_the_day_of_training else None
    renderer, saved = _renderer(
        wording, tokenizer, before, (paths or [directory])[-1], today=today, where=run.where
    )
    notes += [*saved, *other]
    split = wording.split_special_tokens
    family = cache(lambda: seen_by(run, directory, tokenizer))
    return Found(meant, directory, tuple(paths), tokenizer, renderer, split, tuple(notes), family)


def _parsed(found: Found) -> Template:
    """The template file that writes tools as the model's own Jinja does."""
    assert isinstance(found.renderer, OwnJinja), "there are two kinds"
    parsed = parse(found.renderer)
    lost = [what for what in parsed.lost if what.startswith(("tools", "turns"))]
    if parsed.format is None or lost:
        raise TemplateError(
            f"template: {found.renderer.name}: tools", got=lost[0],
            need="a syntax of calls that can be read back", hint="template=NAME",
        )  # fmt: skip
    return Template(parsed.format).bind(found.tokenizer)


def _as_trained(run: Run, before: Trained | None, weights: Path) -> tuple[Any, list[str]]:
    """Template and its settings under which weights were trained, but for what the command says.

    A run file can be edited after the training; the weights know one template only. What the
    command says is done, and told where it is not what was trained.
    """
    if before is None:
        return run.dataset, []
    now = ("command line", "argument")
    asked = {key: getattr(run.dataset, key) for key in _WORDING}
    own = {key: getattr(before.run.dataset, key) for key in _WORDING}
    used, notes = dict[str, Any](), list[str]()
    for key in _WORDING:
        said = run.places.get(key, "").startswith(now)
        used[key] = asked[key] if said else own[key]
        if asked[key] == own[key]:
            continue
        differs = f"{run.where(key)} is {_said(key, asked[key])}, but {weights} was trained with "
        trained_with = _said(key, own[key])
        if said:
            notes.append(f"{differs}{trained_with}: prompts may differ from those of training")
            continue
        notes.append(
            f"{differs}{trained_with}, which is used; {key}=... on the command line would "
            "replace it"
        )
    return run.dataset.model_copy(update=used), notes


def _renderer(
    wording: Any,
    tokenizer: Tokenizer,
    before: Trained | None,
    weights: Path,
    *,
    today: datetime.date | None,
    where: Callable[[str], str],
) -> tuple[Renderer, list[str]]:
    """The template of a run, or what stands beside its weights where that is not here.

    A program can register templates, and a template file can be elsewhere; the directory that was
    trained brings the same text as Jinja.
    """
    asked, name = Asked.of(wording), wording.template
    saved = weights / "chat_template.jinja"
    as_trained = before is not None and before.run.dataset.template == name
    if is_here(name) or not as_trained or not saved.is_file():
        return choose(name, tokenizer, asked, today=today, where=where), []
    asked = asked._replace(tool_format=None, default_system=asked.default_system or None)
    note = (
        f"template {name} is not here (a program registered it, or its file is elsewhere): "
        f"{saved}, which was saved in training, is used; template=FILE.yaml would replace it"
    )
    return choose(str(saved), tokenizer, asked, today=today, where=where), [note]


def _said(key: str, value: Any) -> str:
    if value is None:
        return "the model's own" if key == "template" else "null"
    return str(value)


def load(run: Run, found: Found, *, base_only: bool = False) -> Any:
    """The model with its adapters, ready to answer.

    Args:
        run: what was asked; its precision is used.
        found: what to load.
        base_only: leave the adapters out.

    Raises:
        ModelError: weights that cannot be used.
    """
    import torch

    from tunesmith.models import adapters
    from tunesmith.models.adapter_layers import own
    from tunesmith.models.load import load_model
    from tunesmith.models.vocabulary import grow

    device = "cuda" if torch.cuda.is_available() else "cpu"
    precision = _precision(run, device)
    model: Any = load_model(
        found.directory,
        dtype=precision.dtype,
        device=precision.device,
        trust_remote_code=run.model.trust_remote_code,
        quantization=run.model.quantization,
        kernel=run.model.flash_attn,
    )
    for path in found.adapters:  # the base alone must bear the tokens of its adapter, too
        grow(model, 1 + last_id(path))
    for path in () if base_only else found.adapters:
        adapters.merge(model)
        adapters.load_adapter(model, path, trainable=False)
    for name, parameter in model.named_parameters():
        if own(name) or parameter.dtype == precision.dtype:
            continue
        parameter.data = parameter.data.to(precision.dtype)  # modules trained in full are fp32
    return model


def _precision(run: Run, device: str) -> Precision:
    """That of training, unless the run says in which it answers.

    Raises:
        ConfigError: one that the device does not have.
    """
    from tunesmith.compute import precision as precisions

    asked = run.infer.infer_dtype
    if asked == "auto":
        return precisions.choose(device, bf16=run.train.bf16, fp16=run.train.fp16)
    try:
        return precisions.choose(device, bf16=asked == "bfloat16", fp16=asked == "float16")
    except ConfigError as error:
        need = f"{error.need}, or another precision"
        raise ConfigError(
            run.where("infer_dtype"), got=asked, need=need, hint="infer_dtype: bfloat16"
        ) from None


def settle(model: Any) -> None:
    """Make a model that will only answer, many times, quicker at it, where there is room for it."""
    from tunesmith.compute.prepacked import prepack
    from tunesmith.training.memory.machine import free_bytes, resident_bytes

    if model.device.type == "cpu":
        prepack(model, room=(free_bytes("cpu") - resident_bytes()) // 2)


def sampling(run: Run, found: Found) -> Sampling:
    """Run file, else the model's generation config, else the defaults that users know."""
    return drawn(run, found.directory)


def drawn(run: Run, directory: Path) -> Sampling:
    """The same for a model that is here."""
    keys = [*type(run.generate).model_fields, "seed"]
    asked = {key: run.asked[key] for key in keys if key in run.asked}
    places = {key: run.where(key).removesuffix(f": {key}") for key in asked}
    return resolve(asked, read_generation_config(directory), places=places)
