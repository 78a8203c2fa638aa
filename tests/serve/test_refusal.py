from tunesmith.errors import ModelError
from tunesmith.serve.refusal import Refusal, of_validation


def test_an_error_of_ours_keeps_what_it_says():
    told = Refusal.of(ModelError("prompt", got="9 tokens", need="fewer", hint="shorten")).body()
    assert told == {
        "error": {
            "message": "prompt: got 9 tokens; need fewer; try shorten",
            "type": "invalid_request_error", "param": "prompt", "code": "invalid_value",
        }
    }  # fmt: skip


def test_an_unknown_field_gets_the_nearest_one():
    wrong = {"type": "extra_forbidden", "loc": ("body", "topp"), "msg": ""}
    told = of_validation([wrong], {"chat": ["top_p", "seed"]})
    assert "top_p" in told.detail
    assert told.param == "topp"


def test_a_place_in_a_list_is_named_as_it_is_written():
    wrong = {"type": "x", "loc": ("body", "prompt", "list[int]", 3), "msg": "no"}
    assert of_validation([wrong], {}).param == "prompt[3]"
