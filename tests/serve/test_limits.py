from tunesmith.serve.asked import ChatBody
from tunesmith.serve.limits import Limits


def test_the_usual_caps_allow_what_openai_allows():
    assert Limits().alternatives == 20
    assert Limits().stops >= 4
    ChatBody(messages=[{}], n=Limits().answers, top_logprobs=Limits().alternatives)
