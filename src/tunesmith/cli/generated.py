"""`predict_with_generate`: figures of the answers that a model gives while it is trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tunesmith.config.run import Run
from tunesmith.templates import Template

if TYPE_CHECKING:
    from tunesmith.infer.hf import Answer
    from tunesmith.training.material import Material
    from tunesmith.types import Call


def figures_of(
    model: Any, material: Material, run: Run, progress: Callable[[int, int], None]
) -> dict[str, float]:
    """The held-out rows asked as `tunesmith predict` asks them; keys begin with `eval_`.

    Args:
        model: as it stands; afterwards every module is as before.
        material: of the run.
        run: its settings of the draw are used, else the model's own.
        progress: told (rows done, all).

    Raises:
        DataError: a prompt leaves no room in the model's context.
    """
    from tunesmith.cli.answering import drawn
    from tunesmith.data.media.feed import Feed
    from tunesmith.data.tokenize import encode_prompt
    from tunesmith.eval.figures import figures
    from tunesmith.eval.predict import Asking
    from tunesmith.eval.questions import Questions, tail_of
    from tunesmith.infer.hf import Engine
    from tunesmith.templates.spelled import in_answers

    renderer, tokenizer = material.renderer, material.tokenizer
    questions = Questions(material.data.eval, tail_of(renderer, tokenizer))
    sampling = drawn(run, material.directory)
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    questions.room(context, sampling.max_new_tokens)
    engine = Engine(
        model,
        tokenizer,
        encode=lambda conversation: encode_prompt(conversation, renderer, tokenizer),
        stop_words=renderer.stop_words,
        marks=in_answers(renderer),
    )
    asking = Asking(
        engine,
        sampling,
        _reader(material),
        within=lambda: material.precision.context(model),
        see=Feed(material.family),
    )
    rows = []
    for row in asking.answers(questions):
        rows.append(row)
        progress(len(rows), len(questions))
    return figures(rows).prefixed("eval")


def _reader(material: Material) -> Callable[[Answer], tuple[str, tuple[Call, ...]]]:
    """Words and calls of an answer; of a Jinja template its words."""
    template = material.renderer
    if not isinstance(template, Template):
        return lambda answer: (answer.text, ())
    if not material.data.tools:
        return lambda answer: (template.said(answer.text), ())
    return lambda answer: template.read(answer.text)
