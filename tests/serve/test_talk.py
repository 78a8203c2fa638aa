import pytest

from serving import TOKENIZER, Scripted, found, served
from tunesmith.serve import talk
from tunesmith.serve.asked import ChatBody
from tunesmith.serve.refusal import Refusal
from tunesmith.types import Conversation, Message


def test_a_prompt_is_the_one_of_training():
    body = ChatBody(
        messages=[
            {"role": "developer", "content": "Be short."},
            {"role": "user", "content": [{"type": "text", "text": "What?"}]},
        ]
    )
    wanted = talk.chat(body, served(Scripted("a")))
    conversation = Conversation((Message("user", "What?"),), "Be short.")
    assert list(wanted.requests[0].prompt_ids) == found("qwen").encode(conversation)


def test_questions_in_a_row_are_one_with_an_empty_line_between():
    def prompt(*messages):
        body = ChatBody(messages=[{"role": role, "content": text} for role, text in messages])
        return talk.chat(body, served(Scripted("a"))).requests[0].prompt_ids

    parts = [{"type": "text", "text": "b"}]
    said = (("user", "x"), ("assistant", "y"))
    whole = prompt(*said, ("user", "a\n\nb\n\nc"))
    assert prompt(*said, ("user", "a"), ("user", "b"), ("user", "c")) == whole
    assert prompt(*said, ("user", "a"), ("user", parts), ("user", "c")) == whole
    with pytest.raises(Refusal):
        prompt(("user", "x"), ("assistant", "y"), ("assistant", "z"), ("user", "a"))
    with pytest.raises(Refusal):
        prompt(("user", "a"), ("user", None))


def test_without_a_seed_every_request_draws_anew_and_n_draw_apart():
    body = ChatBody(messages=[{"role": "user", "content": "a"}], n=3)
    seeds = {
        r.sampling.seed for _ in range(2) for r in talk.chat(body, served(Scripted("a"))).requests
    }
    assert len(seeds) == 6


def test_inputs_are_texts_or_ids_one_or_several():
    ids = lambda given: talk.ids_of(given, served(Scripted("a")), "input")  # noqa: E731
    one = TOKENIZER.backend.encode("hi").ids
    assert ids("hi") == [one]
    assert ids(["hi", "hi"]) == [one, one]
    assert ids([3, 4]) == [[3, 4]]
    assert ids([[3], [4]]) == [[3], [4]]
    for nothing in ("", [], [""], [[]], ["a"] * 65):
        with pytest.raises(Refusal):
            ids(nothing)
