"""Questions and answers travel between processes as they are."""

import torch

from tiny_model import tiny_model
from tunesmith.export import said as saying
from tunesmith.export.said import Questions, Said
from tunesmith.export.sights import Glance, Sight
from tunesmith.models.load import load_model

ASKED = Questions(["a", "b"], [[{"role": "user", "content": "é"}]], [[1, 2]], [[3]], base="x")


def test_questions_come_as_they_were_asked(tmp_path):
    saying.ask_in(tmp_path, ASKED)
    assert saying.asked_in(tmp_path) == ASKED


def test_pictures_travel_with_the_questions(tmp_path):
    sight = Sight([{"role": "user", "content": "<image>?"}], ["aGk="], "<i>", {"crop": True})
    saying.ask_in(tmp_path, ASKED._replace(sights=(sight,)))
    assert saying.asked_in(tmp_path).sights == (sight,)
    given = Said("me").looked([Glance([1], [2, 3], torch.randn(2, 4)) for _ in range(2)])
    saying.say_in(tmp_path, given)
    got = saying.said_in(tmp_path)
    assert (got.seen_prompts, got.seen_answers) == ([[1]] * 2, [[2, 3]] * 2)
    pairs = zip(got.seen_steps, given.seen_steps, strict=True)
    assert all(torch.equal(step, wanted) for step, wanted in pairs)


def test_answers_come_as_they_were_given(tmp_path):
    rows = [torch.randn(i + 1, 4) for i in range(12)]
    given = Said("me", [[1]], None, "t", rows, [[1, 2]], [torch.randn(2, 4)], ["x"], notes=("n",))
    saying.say_in(tmp_path, given)
    got = saying.said_in(tmp_path)
    assert got._replace(rows=None, steps=None) == given._replace(rows=None, steps=None)
    assert all(torch.equal(a, b) for a, b in zip(got.rows, rows, strict=True))
    assert torch.equal(got.steps[0], given.steps[0])


def test_words_alone_need_no_file_of_numbers(tmp_path):
    saying.say_in(tmp_path, Said("me"))
    assert saying.said_in(tmp_path) == Said("me")


def test_greedy_takes_what_a_whole_forward_says(tmp_path):
    model = load_model(tiny_model(tmp_path, "gemma2"), dtype=torch.float32)
    prompt = list(range(5, 30))  # longer than the model's window
    answer, steps = saying.greedy(model, prompt, 6)
    (row,) = saying.rows_of(model, [[*prompt, *answer]])
    want = row[len(prompt) - 1 : -1]
    assert want.argmax(1).tolist() == answer
    torch.testing.assert_close(steps, want, rtol=1e-4, atol=1e-5)
