from serving import TOKENIZER
from tunesmith.infer.request import Delta, Request, Token
from tunesmith.infer.sampling import GREEDY
from tunesmith.serve.reading import Style
from tunesmith.serve.said import Answer, Response, usage


def answer(**keys):
    asked = Request((1, 2), GREEDY, **keys)
    return Answer(0, asked, Style(), TOKENIZER.backend)


def test_an_answer_that_was_cut_ends_with_length_whatever_cut_it():
    for finish, told in (("stop", "stop"), ("length", "length"), ("deadline", "length")):
        made = answer()
        made.take(Delta("a", (Token(5),), finish))
        assert made.finish == told
        assert usage([made], 2) == {
            "prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3,
        }  # fmt: skip


def test_a_piece_of_a_character_has_no_bytes_of_its_own():
    ids = TOKENIZER.backend.encode("€", add_special_tokens=False).ids
    assert len(ids) > 1, "a character of several tokens"
    told = answer(logprobs=0).logprobs([Token(ids[0], -1.0)])["content"][0]
    assert told["bytes"] is None


def test_responses_have_ids_of_their_own():
    assert (
        Response("chat.completion", "m").head["id"] != Response("chat.completion", "m").head["id"]
    )
