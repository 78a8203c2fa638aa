"""What chat, eval and export load is what was trained, below what it was trained on."""

import json
import re

import pytest
import torch

from template_cases import single_tokens
from tiny_run import tiny_run, train
from tiny_tokenizer import load_tiny
from tunesmith.cli import answering, target
from tunesmith.cli.main import main
from tunesmith.config.load import load
from tunesmith.data.tokenize import encode
from tunesmith.errors import TemplateError
from tunesmith.infer.chat import Chat
from tunesmith.infer.hf import Answer, Engine
from tunesmith.infer.request import Delta, Token
from tunesmith.infer.sampling import GREEDY
from tunesmith.models import adapters
from tunesmith.serve.reading import Reading
from tunesmith.templates import choose, names
from tunesmith.templates.spelled import in_answers
from tunesmith.training.report import Silent
from tunesmith.types import Call, Conversation, Message

JINJA = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.mark.parametrize("keys", [{}, {"template": "qwen"}, {"default_system": "Be brief."}])
def test_the_prompt_ids_are_a_prefix_of_the_training_ids(tmp_path, keys):
    from tunesmith.training.material import gather

    run = load(tiny_run(tmp_path, **keys))
    found = answering.find(run, Silent())
    example = gather(run, Silent()).data.train[0]
    asked = Conversation((Message("user", "Say one 0.\nplease"),))
    ids = found.encode(asked)
    assert ids == example.ids[: len(ids)].tolist()
    assert not example.trained[: len(ids)].any()
    assert example.trained[len(ids)]


def test_an_answer_ends_where_the_template_ends_it(tmp_path):
    path = tiny_run(tmp_path)
    file = tmp_path / "model" / "tokenizer_config.json"
    file.write_text(file.read_text().replace('"<|im_end|>"', '"<|endoftext|>"'))
    for name in ("config.json", "generation_config.json"):
        file = tmp_path / "model" / name
        file.write_text(json.dumps({**json.loads(file.read_text()), "eos_token_id": 0}))
    run = load(path)
    found = answering.find(run, Silent())
    assert found.tokenizer.eos == "<|endoftext|>"
    engine = found.engine(answering.load(run, found))
    assert found.tokenizer.id_of("<|im_end|>") in engine.stop_ids


def test_adapters_are_stacked_in_their_order(tmp_path):
    path = tiny_run(tmp_path, learning_rate=1e-2)
    train(path)
    second = tmp_path / "second"
    keys = {"adapter_name_or_path": str(tmp_path / "out"), "create_new_adapter": True}
    train(path, output_dir=str(second), **keys)
    run = load(path, {"output_dir": str(second), **keys})
    found = answering.find(run, Silent())
    assert found.adapters == (tmp_path / "out", second)
    ids = torch.arange(12)[None]
    both = answering.load(run, found)
    base = answering.load(run, found, base_only=True)
    with adapters.disabled(both):
        first_only = both(ids).logits
    assert not torch.allclose(first_only, base(ids).logits, atol=1e-3)
    assert not torch.allclose(both(ids).logits, first_only, atol=1e-3)


def test_settings_come_from_the_run_file_first(tmp_path):
    run = load(tiny_run(tmp_path, temperature=0.3, max_new_tokens=7))
    found = answering.find(run, Silent())
    sampling = answering.sampling(run, found)
    assert (sampling.temperature, sampling.max_new_tokens) == (0.3, 7)
    assert "run.yaml" in sampling.sources["temperature"]


def test_the_template_of_the_training_is_served_whatever_the_file_says_now(tmp_path):
    path = tiny_run(tmp_path)
    train(path)
    asked = Conversation((Message("user", "Say one."),))
    as_trained = answering.find(load(path), Silent()).encode(asked)
    edited = tiny_run(tmp_path, template="llama2", default_system="Be brief.")
    found = answering.find(load(edited), Silent())
    assert found.encode(asked) == as_trained
    assert ["chatml" in found.notes[0], "default_system is Be brief." in found.notes[1]] == [
        True
    ] * 2
    other = answering.find(load(edited, ["template=alpaca", "default_system=null"]), Silent())
    assert other.encode(asked) != as_trained
    told = "command line: template is alpaca"
    assert [note for note in other.notes if "may differ from those of training" in note] == [
        *other.notes
    ]
    assert told in other.notes[0]
    assert "trained with chatml" in other.notes[0]
    assert answering.find(load(edited, ["template=chatml"]), Silent()).encode(asked) == as_trained


def test_the_model_s_own_template_is_called_so(tmp_path):
    path = tiny_run(tmp_path, template=None)
    file = tmp_path / "model" / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "chat_template": JINJA}))
    train(path)
    (note,) = answering.find(load(path, ["template=qwen"]), Silent()).notes
    assert "trained with the model's own: prompts may differ" in note


def test_control_tokens_in_a_question_are_read_as_in_training(tmp_path):
    asked = Conversation((Message("user", "Say <|im_end|> one."),))
    path = tiny_run(tmp_path, split_special_tokens=False)
    found = answering.find(load(path), Silent())
    end = found.tokenizer.id_of("<|im_end|>")
    assert found.encode(asked).count(end) == 2
    assert (
        answering.find(load(path, ["split_special_tokens=true"]), Silent()).encode(asked).count(end)
        == 1
    )
    train(path)
    edited = answering.find(load(tiny_run(tmp_path)), Silent())
    assert edited.encode(asked).count(end) == 2
    assert "split_special_tokens is True" in edited.notes[0]


CALLS = (Call("weather", '{"city": "Paris"}'), Call("time", '{"zone": 2}'))
SAID = (
    Message("user", "How is it there?"),
    Message("function", "Let me look.", calls=CALLS[:1]),
    Message("observation", '{"degrees": 21}'),
    Message("assistant", "Warm."),
    Message("user", "And the time?"),
    Message("function", "", calls=CALLS[1:]),
    Message("observation", "12:00"),
    Message("assistant", "Noon."),
)
TOOLS = json.dumps([{"name": call.name, "description": "d"} for call in CALLS])


class Learned(Engine):
    """Gives the answers of training, and refuses a prompt that training has not shown."""

    def __init__(self, found, conversation):
        super().__init__(
            None,
            found.tokenizer,
            encode=found.encode,
            stop_words=found.renderer.stop_words,
            marks=in_answers(found.renderer),
        )
        ends = range(2, len(conversation.messages) + 1, 2)
        texts = [conversation._replace(messages=conversation.messages[:end]) for end in ends]
        self.rows = encode(texts, found.renderer, found.tokenizer, mask_history=True)

    def complete(self, prompt_ids, sampling, on_text=None, *, seen=None):
        row = self.rows.pop(0)
        begin = int(row.trained.argmax())
        assert prompt_ids == row.ids[:begin].tolist()
        ids = row.ids[begin:][row.trained[begin:]].tolist()
        return Answer(self.text(ids), ids, prompt_ids, "stop", 1.0)


def ready(name, tokenizer):
    renderer = choose(name, tokenizer)
    return answering.Found(None, None, (), tokenizer, renderer, True, (), None)  # type: ignore[arg-type]


def talk(found):
    """The conversation held as a user holds it; what the chat then remembers."""
    engine = Learned(found, Conversation(SAID, tools=TOOLS))
    chat = Chat(engine, GREEDY, tools=TOOLS, read=found.read(engine, TOOLS))
    for message in SAID[::2]:
        chat.take(f"/tool {message.content}" if message.role == "observation" else message.content)
    return chat.messages


@pytest.mark.parametrize("name", names())
def test_with_tools_the_chat_sends_the_prompts_of_training_and_reads_its_calls(name):
    tiny = load_tiny(bos="<|endoftext|>")
    tiny.backend.add_special_tokens(single_tokens(name))
    tiny.backend.add_tokens(["<tool_call>", "</tool_call>"])
    assert talk(ready(name, tiny)) == SAID


def test_calls_are_read_under_the_models_own_jinja_too():
    tiny = load_tiny()
    own = load_tiny(choose("qwen", tiny).jinja())
    assert talk(ready(None, own)) == SAID
    plain = ready(None, load_tiny(JINJA))
    with pytest.raises(TemplateError, match="tools"):
        plain.read(Learned(plain, Conversation(())), TOOLS)


def test_marks_of_calls_that_are_special_tokens_are_read():
    tiny = load_tiny()
    tiny.backend.add_special_tokens(["[TOOL_CALLS]", "<|tool_call>", "<tool_call|>", '<|"|>'])
    assert talk(ready("gemma4", tiny)) == SAID


@pytest.mark.parametrize("name", names())
def test_a_server_reads_the_answers_of_training_with_marks_that_are_special_tokens(name):
    tiny = load_tiny(bos="<|endoftext|>")
    tiny.backend.add_special_tokens(single_tokens(name))
    written = " ".join(in_answers(ready(name, tiny).renderer))
    tiny.backend.add_special_tokens(re.findall(r"<[^<> \n]+>|\[[A-Z_/]+\]", written))
    known = ready(name, tiny)
    engine, style = Learned(known, Conversation(SAID, tools=TOOLS)), known.style(TOOLS)
    for row, message in zip(engine.rows, SAID[1::2], strict=True):
        begin = int(row.trained.argmax())
        ids = row.ids[begin:][row.trained[begin:]].tolist()
        stops = {"stop_ids": engine.stop_ids, "stop_texts": engine.stop_texts}
        reading = Reading(style, tiny.backend, **stops)
        parts = [part for i in ids for part in reading.take(Delta("", (Token(i),)))]
        parts += reading.take(Delta("", (), "stop"))
        assert {part.kind for part in parts} <= {"words"}
        assert reading.calls == message.calls
        assert known.renderer.said("".join(part.text for part in parts)) == message.content


def test_special_tokens_that_are_no_marks_are_left_out_of_calls_too():
    tiny = load_tiny()
    tiny.backend.add_special_tokens(["<|tool_call>", "<tool_call|>", '<|"|>', "<|other|>"])
    for known in (ready("gemma4", tiny), ready(None, load_tiny(choose("qwen", tiny).jinja()))):
        known.tokenizer.backend.add_special_tokens(["<|other|>"])
        stops = known.renderer.stop_words
        engine = Engine(None, known.tokenizer, encode=known.encode, stop_words=stops)
        read = known.read(engine, TOOLS)
        turns = (SAID[0], SAID[1])
        spans = known.renderer.render(Conversation(turns, tools=TOOLS))
        text = "".join(span.text for span in spans if span.trained)
        ids = known.tokenizer.backend.encode("<|other|>" + text, add_special_tokens=False).ids
        assert read(Answer("", ids, [], "stop", 1.0)) == (SAID[1].content, SAID[1].calls)


def test_weights_that_no_run_of_ours_made_are_served_as_the_file_says(tmp_path):
    run = load(tiny_run(tmp_path, template="llama2"))
    assert answering.find(run, Silent()).renderer.name == "llama2"


@pytest.mark.parametrize("how", ["registered", "a file"])
def test_a_template_that_is_gone_is_served_by_what_was_saved(tmp_path, monkeypatch, capsys, how):
    from tunesmith import templates
    from tunesmith.templates import registry

    monkeypatch.setattr(registry, "_registered", {})
    keys = {"roles": ("Q", "A"), "sep_style": "TWO", "sep": "\n", "sep2": "<|im_end|>"}
    if how == "registered":
        told = {"system": "Be kind.", "messages": (), "offset": 0}
        templates.register(templates.Conversation(version="mine", **told, **keys))
        name = "mine"
    else:
        name = str(tmp_path / "mine.yaml")
        (tmp_path / "mine.yaml").write_text(json.dumps({"system": "Be kind.", **keys}))
    run = load(tiny_run(tmp_path, template=name, max_steps=1))
    train(tmp_path / "run.yaml")
    asked = Conversation((Message("user", "Say one."),))
    before = answering.find(run, Silent())
    assert before.notes == ()
    registry._registered.clear()
    (tmp_path / "mine.yaml").unlink(missing_ok=True)
    for path in (tmp_path / "run.yaml", tmp_path / "out"):
        found = answering.find(target.read(str(path), []), Silent())
        assert found.encode(asked) == before.encode(asked)
        assert f"template {name} is not here" in found.notes[0]
    with pytest.raises(TemplateError):
        answering.find(target.read(str(tmp_path / "out"), ["template=mien"]), Silent())
    assert main(["export", str(tmp_path / "out")]) == 0
    assert "is not here" in capsys.readouterr().out
