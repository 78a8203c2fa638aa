from tunesmith.serve.figures import Figures


def test_two_servers_of_one_process_count_apart():
    one, two = Figures(), Figures()
    one.prompt_tokens.inc(5)
    assert b"tunesmith_prompt_tokens_total 5.0" in one.text(2, 1)
    assert b"tunesmith_prompt_tokens_total 0.0" in two.text(0, 0)
    assert b"tunesmith_answers_active 2.0" in one.text(2, 1)
    assert b"tunesmith_answers_waiting 1.0" in one.text(2, 1)
