"""A chat line by line: commands, questions, and what is told about both."""

import io
import json

import pytest

from talking import Echo, calling
from tunesmith.cli.chat_view import Lines
from tunesmith.cli.talk import HELP, Talk
from tunesmith.infer.chat import Chat
from tunesmith.infer.sampling import GREEDY, Sampling


def _hold(lines, sampling=GREEDY, **keywords):
    engine, out = Echo(), io.StringIO()
    chat = Chat(engine, sampling, **keywords)
    talk = Talk({"Assistant": chat}, Lines(out.write), lambda _: calling)
    talk.hold(lines)
    return engine, out.getvalue(), talk


def test_history_grows_with_each_turn():
    engine, out, _ = _hold(["one\n", "\n", "two\n"])
    assert "Assistant: 1:one\n" in out
    assert "Assistant: 3:two\n" in out
    assert [m.role for m in engine.seen[-1].messages] == ["user", "assistant", "user"]


@pytest.mark.parametrize("word", ["clear", "/reset"])
def test_a_reset_forgets_the_turns_and_keeps_the_system_message(word):
    engine, out, _ = _hold(["one", word, "two"], system="Be kind.")
    assert "Assistant: 1:two\n" in out
    assert engine.seen[-1].system == "Be kind."


def test_clear_with_words_behind_it_is_a_question():
    engine, *_ = _hold(["clear skies?"])
    assert engine.seen[0].messages[0].content == "clear skies?"


def test_a_new_system_message_begins_a_new_conversation():
    engine, out, _ = _hold(["one", "/system  Be brief. ", "two", "/system", "three"])
    assert [conversation.system for conversation in engine.seen] == [None, "Be brief.", None]
    assert "1:three" in out


@pytest.mark.parametrize("word", ["exit", "/exit", "quit"])
def test_leaving_reads_no_further_line(word):
    lines = iter(["one", word, "two"])
    engine, *_ = _hold(lines)
    assert len(engine.seen) == 1
    assert next(lines) == "two"


def test_a_called_tool_is_shown_and_answered_with_what_it_gave():
    lines = ["call weather", "/tool 21 degrees", "thanks", "/tool again"]
    engine, out, _ = _hold(lines, tools="[]", read=calling)
    assert "(calls weather with {})\n(/tool TEXT says what came of it)\n" in out
    roles = [m.role for m in engine.seen[-1].messages]
    assert roles == ["user", "function", "observation", "assistant", "user"]
    assert engine.seen[1].messages[2].content == "21 degrees"
    assert {conversation.tools for conversation in engine.seen} == {"[]"}
    assert "(refused: /tool: got /tool again" in out  # the last answer called nothing


def test_tools_are_taken_from_a_file_and_given_up_again(tmp_path):
    path = tmp_path / "tools.json"
    path.write_text(json.dumps([{"name": "weather"}, {"function": {"name": "time"}}]))
    engine, out, _ = _hold(["one", f"/tools {path}", "call time", "/tools", "two"])
    assert "(a new conversation, tools: weather, time)\n" in out
    assert "(calls time with {})" in out
    assert [conversation.tools for conversation in engine.seen] == [None, path.read_text(), None]


def test_tools_that_cannot_be_read_change_nothing(tmp_path):
    engine, out, talk = _hold(["one", f"/tools {tmp_path}/none.json", "two"], tools="[]")
    assert "refused: /tools" in out
    assert talk.refused == 1
    assert len(engine.seen[-1].messages) == 3
    assert engine.seen[-1].tools == "[]"


def test_a_picture_that_is_not_there_is_refused_in_one_line():
    engine, out, talk = _hold(["/image cat.png", "one"])
    assert "(refused: /image cat.png: got no such file; need a picture)\n" in out
    assert (talk.refused, len(engine.seen)) == (1, 1)


def test_a_picture_is_part_of_the_next_question_alone(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    lines = [f"/image {tmp_path / 'a.png'}", "one", "two", "/undo", "/regenerate", "clear", "one"]
    engine, _, _ = _hold(lines)
    asked = [[m.content for m in seen.messages if m.role == "user"] for seen in engine.seen]
    assert asked == [["<image>one"], ["<image>one", "two"], ["<image>one"], ["one"]]
    assert [len(seen.media) for seen in engine.seen] == [1, 1, 1, 0]


def test_an_answer_is_given_again_with_another_seed_that_is_told():
    engine, out, _ = _hold(["/regenerate", "one", "/regenerate"], Sampling(seed=3))
    assert engine.seeds == [3, 4]
    assert "(seed 4)" in out
    assert "refused: /regenerate" in out
    assert "every seed gives this answer" in _hold(["one", "/regenerate"])[1]


def test_undo_says_what_is_forgotten():
    engine, out, _ = _hold(["one", "two", "/undo", "three", "/undo", "/undo", "/undo"])
    assert [m.content for m in engine.seen[-1].messages] == ["one", "1:one", "three"]
    assert "(forgotten: two)" in out
    assert out.count("forgotten") == 3
    assert "refused: /undo" in out


def test_settings_are_shown_with_their_source_and_changed_within_their_bounds():
    asked = [
        "/set",
        "/set temperature 0.2",
        "/set top_p=2",
        "/set tempratur 1",
        "/set seed",
        "/set",
    ]
    _, out, talk = _hold(asked, Sampling())
    assert "temperature: 0.95 (default)\n" in out
    assert "temperature: 0.2 (/set)\n" in out
    assert "refused: /set: top_p: got 2; need above 0, at most 1" in out
    assert "try /set temperature 1" in out
    assert "refused: /set seed: got no value" in out
    assert talk.chat.sampling.temperature == 0.2
    assert talk.refused == 3


def test_a_setting_that_greedy_answers_do_not_use_says_so():
    _, out, _ = _hold(["/set temperature 0.2"])
    assert "temperature: 0.2, not used while do_sample is false" in out


def test_a_conversation_is_saved_as_rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    _, out, _ = _hold(["/save", "one", f"/save {path}", "two", f"/save {path}"])
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [len(row["messages"]) for row in rows] == [2, 4]
    assert f"saved to {path}: 2 answers as one row; dataset: {path} trains on it" in out
    assert "refused: /save: got no name" in out


def test_an_unknown_command_is_said_and_not_sent_to_the_model():
    engine, out, _ = _hold(["/restet", "/help"])
    assert engine.seen == []
    assert "no command /restet" in out
    assert out.count(HELP) == 2


def test_the_help_names_every_command():
    *_, talk = _hold([])
    listed = {word.strip(",") for line in HELP.splitlines() for word in line.split()}
    assert {*talk._commands, "exit", "/tool"} <= {*listed, "/clear"}


def test_a_path_is_a_question_not_a_command():
    engine, *_ = _hold(["/etc/hosts is what?"])
    assert len(engine.seen) == 1


def test_an_answer_that_was_cut_says_so():
    assert "(cut after 2 tokens: the context of the model is full" in _hold(["long"])[1]
    out = _hold(["long"], GREEDY._replace(max_new_tokens=2))[1]
    assert "(cut after 2 tokens: max_new_tokens=2;" in out


def test_a_refused_question_is_one_line_and_the_next_one_is_answered():
    _, out, talk = _hold(["too long", "b\udcff", "two"])
    assert talk.refused == 2
    assert "Assistant: (refused: prompt: got 99 tokens)\n" in out
    assert "Assistant: (refused: question: got b'b\\xff'; need text in UTF-8)\n" in out
    assert "Assistant: 1:two\n" in out


def test_an_answer_that_is_stopped_gives_the_prompt_back_and_is_forgotten():
    engine, out, _ = _hold(["stop me", "two"])
    assert "half an ans\n(stopped" in out
    assert "Assistant: 1:two\n" in out
    assert len(engine.seen) == 1


def test_stopping_at_the_prompt_leaves():
    def lines():
        yield "one"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _hold(lines())


def _compare(lines):
    base, tuned, out = Echo("base "), Echo("tuned "), io.StringIO()
    sides = {"Base": Chat(base, GREEDY), "Tuned": Chat(tuned, GREEDY)}
    talk = Talk(sides, Lines(out.write), lambda _: calling)
    talk.hold(lines)
    return base, tuned, out.getvalue(), talk


def test_two_models_answer_the_same_questions_each_with_its_own_history(tmp_path):
    path = tmp_path / "rows.json"
    base, tuned, out, _ = _compare(["one", "two", f"/save {path}"])
    assert "Base: base 1:one\nTuned: tuned 1:one\nBase: base 3:two\n" in out
    assert base.seen[-1].messages[1].content == "base 1:one"
    assert tuned.seen[-1].messages[1].content == "tuned 1:one"
    (row,) = json.loads(path.read_text())
    assert row["messages"][1]["content"] == "tuned 1:one"


def test_both_forget_a_question_that_was_stopped_while_one_had_answered():
    base, tuned, _, talk = _compare(["one"])
    kept = [chat.messages for chat in talk.sides.values()]
    base.generate, generate = tuned.generate, base.generate
    tuned.generate = generate

    def interrupted(*_):
        raise KeyboardInterrupt

    tuned.generate = interrupted
    talk.take("two")
    assert [chat.messages for chat in talk.sides.values()] == kept


def test_commands_are_for_both():
    base, tuned, _, talk = _compare(["one", "/undo", "/system Be brief.", "/set seed 5", "two"])
    for engine in (base, tuned):
        assert len(engine.seen[-1].messages) == 1
        assert engine.seen[-1].system == "Be brief."
        assert engine.seeds[-1] == 5
    assert talk.refused == 0
