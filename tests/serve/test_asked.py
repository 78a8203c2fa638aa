import pytest
from pydantic import ValidationError

from tunesmith.serve.asked import ChatBody, CompletionBody, Drawn, Passed

MESSAGES = [{"role": "user", "content": "a"}]


def test_every_setting_has_bounds_and_nothing_is_turned_into_a_number():
    for name in ("temperature", "top_p", "top_k", "min_p", "presence_penalty", "seed", "n"):
        for wrong in ("1", True, [1], 1e30, float("nan")):
            with pytest.raises(ValidationError):
                ChatBody(messages=MESSAGES, **{name: wrong})


def test_what_changes_no_answer_is_a_closed_list():
    keys = dict.fromkeys(Passed.model_fields)
    ChatBody(messages=MESSAGES, **keys)
    for name in ("reasoning_effort", "modalities", "prediction", "web_search_options", "audio"):
        with pytest.raises(ValidationError):
            ChatBody(messages=MESSAGES, **{name: "low"})


def test_both_kinds_of_request_draw_alike():
    assert set(Drawn.model_fields) < set(ChatBody.model_fields) & set(CompletionBody.model_fields)
