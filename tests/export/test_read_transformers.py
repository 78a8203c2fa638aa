"""A directory opened by stock transformers says its ids, prompts, template and logits."""

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tiny_model import tiny_model
from tunesmith.export import read_transformers
from tunesmith.export.said import Questions

TEMPLATE = "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}"
ASKED = Questions(
    ["hello there", "<|im_end|>"], [[{"role": "user", "content": "hi"}]], [[5, 6, 7, 8]], [[5, 6]]
)


def test_it_says_what_autotokenizer_and_automodel_say(tmp_path):
    base = tiny_model(tmp_path, template=TEMPLATE)
    said = read_transformers.read(base, ASKED)
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    assert said.ids[0] == tokenizer("hello there", add_special_tokens=False)["input_ids"]
    assert said.template == TEMPLATE
    text = tokenizer.apply_chat_template(ASKED.prompts[0], tokenize=False)
    assert said.prompts == [tokenizer(text, add_special_tokens=False)["input_ids"]]
    with torch.no_grad():
        torch.testing.assert_close(said.rows[0], model(torch.tensor([[5, 6, 7, 8]])).logits[0])
    ids = torch.tensor([[5, 6]])
    settings = {"do_sample": False, "max_new_tokens": 12, "min_new_tokens": 12}
    want = model.generate(ids, attention_mask=torch.ones_like(ids), **settings)
    assert said.answers[0][:1] == want[0, 2:3].tolist()
    assert said.notes == ()


def test_without_a_template_there_are_no_prompts(tmp_path):
    said = read_transformers.words(tiny_model(tmp_path), ASKED)
    assert (said.template, said.prompts) == (None, None)
