"""A conversation and its history, with an engine that says what it was asked."""

import pytest

from talking import Echo, calling
from tunesmith.errors import ConfigError, DataError, ModelError
from tunesmith.infer.chat import Chat
from tunesmith.infer.sampling import GREEDY, Sampling


def test_a_refused_question_leaves_the_conversation_as_it_was():
    chat = Chat(Echo(), GREEDY)
    chat.say("one")
    before = chat.messages
    with pytest.raises(ModelError):
        chat.say("too long")
    with pytest.raises(DataError, match="question"):
        chat.say("b\udcff")
    assert chat.messages == before


def test_a_question_is_answered_again_with_the_next_seed_in_the_same_place():
    engine = Echo()
    chat = Chat(engine, Sampling(seed=7))
    for question in ("one", "two"):
        chat.say(question)
    asked = engine.seen[-1]
    chat.regenerate()
    chat.regenerate()
    assert engine.seen[2:] == [asked, asked]
    assert engine.seeds == [7, 7, 8, 9]
    assert chat.seed == 9
    chat.say("three")  # a new question begins with the seed of the settings
    assert engine.seeds[-1] == 7
    assert len(chat.messages) == 6


def test_an_answer_that_cannot_be_given_again_stays():
    engine = Echo()
    chat = Chat(engine, GREEDY)
    with pytest.raises(DataError, match="/regenerate"):
        chat.regenerate()
    chat.say("one")
    before = chat.kept()
    engine.full = True
    with pytest.raises(ModelError):
        chat.regenerate()
    assert chat.kept() == before


def test_undo_takes_back_one_turn_at_a_time():
    chat = Chat(Echo(), GREEDY)
    chat.say("one")
    kept = chat.messages
    chat.say("two")
    assert chat.undo() == "two"
    assert chat.messages == kept
    chat.undo()
    with pytest.raises(DataError, match="/undo"):
        chat.undo()


def test_other_tools_and_another_system_message_begin_anew():
    chat = Chat(Echo(), GREEDY)
    chat.say("one")
    chat.set_tools("[]", calling)
    assert chat.messages == ()
    chat.say("call weather")
    assert chat.calls[0].name == "weather"
    chat.set_system("Be brief.")
    assert chat.conversation == ((), "Be brief.", "[]", ())


def test_settings_hold_for_the_answers_to_come():
    chat = Chat(Echo(), GREEDY)
    chat.set_sampling("max_new_tokens", "3")
    assert chat.sampling.max_new_tokens == 3
    with pytest.raises(ConfigError):
        chat.set_sampling("top_p", "2")
    assert chat.sampling.top_p == GREEDY.top_p
