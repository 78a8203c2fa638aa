from tunesmith.infer.request import Delta, Request, Token
from tunesmith.infer.sampling import GREEDY


def test_a_request_is_of_ids_and_settings_alone():
    asked = Request((1, 2), GREEDY)
    assert (asked.adapter, asked.stops, asked.logprobs, asked.grammar) == (None, (), None, None)
    assert Delta("a", (Token(3),)).finish is None
