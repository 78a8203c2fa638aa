"""Thoughts between special tokens (gemma4, gpt-oss) in chat and serving, as in training."""

import io
import json

import pytest
from starlette.testclient import TestClient

from real_tokenizers import real
from serving import Scripted, found, served
from tiny_tokenizer import load_tiny
from tunesmith.cli.chat import _thoughts
from tunesmith.cli.chat_view import Lines
from tunesmith.cli.talk import Talk
from tunesmith.data.tokenize import encode
from tunesmith.infer.chat import Chat
from tunesmith.infer.hf import Answer, Engine
from tunesmith.infer.sampling import GREEDY
from tunesmith.infer.thinking import said, whole
from tunesmith.serve.app import build
from tunesmith.templates.spelled import in_answers, spelled
from tunesmith.types import Conversation, Message

MARKS = {
    "gemma4": ["<|turn>", "<turn|>", "<|channel>", "<channel|>", "<|think|>"],
    "gpt_oss": ["<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>"],
}
FINAL = "<|channel|>final<|message|>"
TALK = Conversation(
    (
        Message("user", "How many?"),
        Message("assistant", "Two, 你好.", thought="One and\n\none."),
        Message("user", "And then?"),
        Message("assistant", "Three."),
        Message("user", "Why?"),
        Message("assistant", "So.", thought="Because."),
    )
)


def tokenizer_of(name, kind):
    """With the control tokens of the family, which are special."""
    if kind == "real" and name == "gpt_oss":
        return real("gptoss")
    if kind == "real":
        gemma = real("gemma3")
        gemma.backend.add_special_tokens(MARKS[name])
        return gemma
    tiny = load_tiny(bos="<|endoftext|>")
    tiny.backend.add_special_tokens(MARKS[name])
    return tiny._replace(eos="<|return|>") if name == "gpt_oss" else tiny


KINDS = pytest.mark.parametrize("kind", ["tiny", "real"])
NAMES = pytest.mark.parametrize("name", list(MARKS))


class Learned(Engine):
    """Gives the answers of training, streamed, and refuses a prompt that training has not shown."""

    def __init__(self, known):
        renderer, tokenizer = known.renderer, known.tokenizer
        marks, stops = in_answers(renderer), renderer.stop_words
        super().__init__(None, tokenizer, encode=known.encode, stop_words=stops, marks=marks)
        self.rows = learned(known)

    def complete(self, prompt_ids, sampling, on_text=None, *, seen=None):
        prompt, ids = self.rows.pop(0)
        assert prompt_ids == prompt
        stream = self.stream()
        for token_id in ids:
            if token_id not in self.stop_ids:
                on_text(stream.push(token_id).text)
        on_text(stream.finish().text)
        assert stream.text == self.text(ids)
        return Answer(stream.text, ids, prompt_ids, "stop", 1.0)


def learned(known):
    """Prompt and answer of each answer as a training has them."""
    talk = spelled(TALK, known.renderer)
    texts = [talk._replace(messages=talk.messages[:end]) for end in (2, 4, 6)]
    rows = encode(texts, known.renderer, known.tokenizer, mask_history=True)
    found = []
    for row in rows:
        begin = int(row.trained.argmax())
        found.append((row.ids[:begin].tolist(), row.ids[begin:][row.trained[begin:]].tolist()))
    return found


@KINDS
@NAMES
def test_a_chat_dims_thoughts_and_sends_the_prompts_of_training(name, kind):
    known = found(name, tokenizer_of(name, kind))
    engine, out = Learned(known), io.StringIO()
    chat = Chat(engine, GREEDY, read=known.read(engine, None))
    view = Lines(out.write, marks=_thoughts(known), terminal=True)
    questions = [message.content for message in TALK.messages[::2]]
    Talk({"A": chat}, view, lambda _: known.read(engine, None)).hold(questions)
    assert not engine.rows
    assert chat.messages == spelled(TALK, known.renderer).messages
    dim = [piece.partition("\x1b[0m")[0] for piece in out.getvalue().split("\x1b[2m")[1:]]
    plain = "".join(piece.partition("\x1b[0m")[2] for piece in out.getvalue().split("\x1b[2m"))
    thoughts = "".join(dim)
    assert "One and\n\none." in thoughts
    assert "Because." in thoughts
    for words in ("Two, 你好.", "Three.", "So."):
        assert words not in thoughts
    assert not any(mark in plain for mark in MARKS[name])


@KINDS
@NAMES
def test_a_server_says_thoughts_apart_and_sends_the_prompts_of_training(name, kind):
    tokenizer = tokenizer_of(name, kind)
    known = found(name, tokenizer)
    rows, messages = learned(known), []
    decode = tokenizer.backend.decode
    answers = [decode(ids, skip_special_tokens=False) for _, ids in rows]
    for number, (prompt, _) in enumerate(rows):
        question, expected = TALK.messages[2 * number : 2 * number + 2]
        messages.append({"role": "user", "content": question.content})
        engine = Scripted(answers[number], backend=tokenizer.backend)
        app, _ = build(served(engine, template=name, tokenizer=tokenizer), token=None, places=4)
        http = TestClient(app)
        asked = {"messages": messages}
        message = http.post("/v1/chat/completions", json=asked).json()["choices"][0]["message"]
        assert message["content"] == expected.content
        assert message.get("reasoning_content", "") == expected.thought
        told = http.post("/v1/chat/completions", json={**asked, "stream": True}).text
        lines = [line.removeprefix("data: ") for line in told.split("\n\n") if line]
        deltas = [json.loads(line)["choices"][0]["delta"] for line in lines[:-1]]
        assert "".join(d.get("content", "") for d in deltas) == expected.content
        assert "".join(d.get("reasoning_content", "") for d in deltas) == expected.thought
        assert [list(each.prompt_ids) for each in engine.asked] == [prompt, prompt]
        messages.append(message)


@KINDS
def test_the_channel_of_an_answer_without_a_thought_is_no_part_of_it(kind):
    tokenizer = tokenizer_of("gpt_oss", kind)
    known = found("gpt_oss", tokenizer)
    engine = Learned(known)
    ids = tokenizer.backend.encode(FINAL + "Yes.<|return|>", add_special_tokens=False).ids
    answer = Answer(engine.text(ids), ids, [], "stop", 1.0)
    assert known.read(engine, None)(answer) == ("Yes.", ())
    marks = _thoughts(known)
    assert (said(answer.text, marks), whole(answer.text, marks)) == ("Yes.", "Yes.")
    scripted = Scripted(FINAL + "Yes.", backend=tokenizer.backend)
    app, _ = build(served(scripted, template="gpt_oss", tokenizer=tokenizer), token=None, places=1)
    asked = {"messages": [{"role": "user", "content": "So?"}]}
    got = TestClient(app).post("/v1/chat/completions", json=asked).json()["choices"][0]["message"]
    assert got == {"role": "assistant", "content": "Yes."}


@NAMES
def test_other_special_tokens_are_no_part_of_an_answer(name):
    tokenizer = tokenizer_of(name, "tiny")
    tokenizer.backend.add_special_tokens(["<|other|>"])
    known = found(name, tokenizer)
    text = spelled(TALK, known.renderer).messages[1].content
    ids = tokenizer.backend.encode(f"{text} Yes<|other|>.", add_special_tokens=False).ids
    assert Learned(known).text(ids) == f"{text} Yes."
    engine = Scripted(f"{text} Yes<|other|>.", backend=tokenizer.backend)
    app, _ = build(served(engine, template=name, tokenizer=tokenizer), token=None, places=1)
    asked = {"messages": [{"role": "user", "content": "So?"}]}
    got = TestClient(app).post("/v1/chat/completions", json=asked).json()["choices"][0]["message"]
    assert got["content"] == "Two, 你好. Yes."


REFUSING = (
    "{% for m in messages %}{% if m.role == 'assistant' and '<|channel|>' in m.content %}"
    "{{ raise_exception('no channels in words') }}{% endif %}"
    "{% set said = m.role == 'assistant' %}<|start|>{{ m.role }}{{ '<|channel|>final' if said }}"
    "<|message|>{{ m.content }}{{ '<|return|>' if said and loop.last else '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
    "{# <|channel|>analysis<|message|> <|end|><|start|>assistant<|channel|>final<|message|> #}"
)


def test_a_jinja_that_refuses_marks_in_words_gets_words_alone():
    tokenizer = tokenizer_of("gpt_oss", "tiny")._replace(chat_template=REFUSING)
    known = found(None, tokenizer)
    thought = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant" + FINAL
    read = known.read(None, None)  # type: ignore[arg-type] - there are no calls
    for text in (thought + "Yes.", FINAL + "Yes.", "Yes."):
        assert read(Answer(text, [], [], "stop", 1.0)) == ("Yes.", ())
    asked = (Message("user", "a"), Message("assistant", "b", thought="Hm."), Message("user", "c"))
    plain = Conversation((asked[0], asked[1]._replace(thought=""), asked[2]))
    assert known.spoken(Conversation(asked)) == known.encode(plain)
