"""A conversation line by line, with an engine that says what it was asked."""

import io

import pytest

from tunesmith.errors import ModelError
from tunesmith.infer.chat import HELP, Chat, chat_loop
from tunesmith.infer.hf import Answer
from tunesmith.infer.sampling import GREEDY
from tunesmith.types import Call


class Echo:
    """Answers with the number of messages and the last one; refuses "too long"."""

    def __init__(self):
        self.seen = []

    def generate(self, conversation, sampling, on_text=None):
        last = conversation.messages[-1].content
        if last == "too long":
            raise ModelError("prompt", got="99 tokens")
        if last == "stop me":
            on_text("half an ans")
            raise KeyboardInterrupt
        self.seen.append(conversation)
        text = f"{len(conversation.messages)}:{last}"
        if on_text:
            on_text(text)
        reason = "length" if last == "long" else "stop"
        return Answer(text, [1, 2], [0], reason, 1.0)


def _hold(lines, **keywords):
    engine, out = Echo(), io.StringIO()
    chat_loop(Chat(engine, GREEDY, **keywords), lines, out.write)
    return engine, out.getvalue()


def test_history_grows_with_each_turn():
    engine, out = _hold(["one\n", "\n", "two\n"])
    assert "Assistant: 1:one\n" in out
    assert "Assistant: 3:two\n" in out
    assert [m.role for m in engine.seen[-1].messages] == ["user", "assistant", "user"]


@pytest.mark.parametrize("word", ["clear", "/reset"])
def test_a_reset_forgets_the_turns_and_keeps_the_system_message(word):
    engine, out = _hold(["one", word, "two"], system="Be kind.")
    assert "Assistant: 1:two\n" in out
    assert engine.seen[-1].system == "Be kind."


def test_a_new_system_message_begins_a_new_conversation():
    engine, out = _hold(["one", "/system  Be brief. ", "two", "/system", "three"])
    assert [conversation.system for conversation in engine.seen] == [None, "Be brief.", None]
    assert "1:three" in out


@pytest.mark.parametrize("word", ["exit", "/exit", "quit"])
def test_leaving_reads_no_further_line(word):
    lines = iter(["one", word, "two"])
    engine, _ = _hold(lines)
    assert len(engine.seen) == 1
    assert next(lines) == "two"


def calling(answer):
    """Reads `call NAME` as a call."""
    _, _, said = answer.text.partition(":")
    head, _, name = said.partition(" ")
    return ("", (Call(name, "{}"),)) if head == "call" else (answer.text, ())


def test_a_called_tool_is_shown_and_answered_with_what_it_gave():
    engine, out = _hold(
        ["call weather", "/tool 21 degrees", "thanks", "/tool again"], tools="[]", read=calling
    )
    assert "(calls weather with {})\n(/tool TEXT says what came of it)\n" in out
    roles = [m.role for m in engine.seen[-1].messages]
    assert roles == ["user", "function", "observation", "assistant", "user"]
    assert engine.seen[1].messages[2].content == "21 degrees"
    assert {conversation.tools for conversation in engine.seen} == {"[]"}
    assert "(refused: /tool: got again" in out  # the last answer called nothing


def test_an_unknown_command_is_said_and_not_sent_to_the_model():
    engine, out = _hold(["/restet", "/help"])
    assert engine.seen == []
    assert "no command /restet" in out
    assert out.count(HELP) == 2


def test_a_path_is_a_question_not_a_command():
    engine, _ = _hold(["/etc/hosts is what?"])
    assert len(engine.seen) == 1


def test_an_answer_that_was_cut_says_so():
    assert "(cut after 2 tokens: the context of the model is full" in _hold(["long"])[1]
    out = io.StringIO()
    chat_loop(Chat(Echo(), GREEDY._replace(max_new_tokens=2)), ["long"], out.write)
    assert "(cut after 2 tokens: max_new_tokens=2;" in out.getvalue()


def test_a_pipe_shows_a_prompt_only_where_there_is_a_question():
    out = io.StringIO()
    chat_loop(Chat(Echo(), GREEDY), ["one\n", "\n"], out.write, echo=True)
    assert out.getvalue() == "User: one\nAssistant: 1:one\n"


def test_a_refused_question_leaves_the_conversation_as_it_was():
    chat = Chat(Echo(), GREEDY)
    chat.say("one")
    before = chat.messages
    with pytest.raises(ModelError):
        chat.say("too long")
    assert chat.messages == before


def test_a_refused_question_is_one_line_and_the_next_one_is_answered():
    out = io.StringIO()
    assert chat_loop(Chat(Echo(), GREEDY), ["too long", "b\udcff", "two"], out.write) == 2
    assert "Assistant: (refused: prompt: got 99 tokens)\n" in out.getvalue()
    assert "Assistant: (refused: question: got b'b\\xff'; need text in UTF-8)\n" in out.getvalue()
    assert "Assistant: 1:two\n" in out.getvalue()


def test_an_answer_that_is_stopped_gives_the_prompt_back_and_is_forgotten():
    engine, out = _hold(["stop me", "two"])
    assert "half an ans\n(stopped" in out
    assert "Assistant: 1:two\n" in out
    assert len(engine.seen) == 1


def test_stopping_at_the_prompt_leaves():
    def lines():
        yield "one"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        chat_loop(Chat(Echo(), GREEDY), lines(), io.StringIO().write)
