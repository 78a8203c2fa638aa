"""What chat, eval and export load is what was trained, below what it was trained on."""

import json

import pytest
import torch

from tiny_run import tiny_run, train
from tunesmith.cli import answering
from tunesmith.config.load import load
from tunesmith.models import adapters
from tunesmith.training.report import Silent
from tunesmith.types import Conversation, Message


@pytest.mark.parametrize("keys", [{}, {"template": "qwen"}, {"default_system": "Be brief."}])
def test_the_prompt_ids_are_a_prefix_of_the_training_ids(tmp_path, keys):
    from tunesmith.training.material import gather

    run = load(tiny_run(tmp_path, **keys))
    found = answering.find(run, Silent())
    example = gather(run, Silent()).data.train[0]
    asked = Conversation((Message("user", "Say one 0.\nplease"),))
    ids = found.encode(asked)
    assert ids == example.ids[: len(ids)].tolist()
    assert not example.trained[: len(ids)].any()
    assert example.trained[len(ids)]


def test_an_answer_ends_where_the_template_ends_it(tmp_path):
    path = tiny_run(tmp_path)
    file = tmp_path / "model" / "tokenizer_config.json"
    file.write_text(file.read_text().replace('"<|im_end|>"', '"<|endoftext|>"'))
    for name in ("config.json", "generation_config.json"):
        file = tmp_path / "model" / name
        file.write_text(json.dumps({**json.loads(file.read_text()), "eos_token_id": 0}))
    run = load(path)
    found = answering.find(run, Silent())
    assert found.tokenizer.eos == "<|endoftext|>"
    engine = found.engine(answering.load(run, found))
    assert found.tokenizer.id_of("<|im_end|>") in engine.stop_ids


def test_adapters_are_stacked_in_their_order(tmp_path):
    path = tiny_run(tmp_path, learning_rate=1e-2)
    train(path)
    second = tmp_path / "second"
    keys = {"adapter_name_or_path": str(tmp_path / "out"), "create_new_adapter": True}
    train(path, output_dir=str(second), **keys)
    run = load(path, {"output_dir": str(second), **keys})
    found = answering.find(run, Silent())
    assert found.adapters == (tmp_path / "out", second)
    ids = torch.arange(12)[None]
    both = answering.load(run, found)
    base = answering.load(run, found, base_only=True)
    with adapters.disabled(both):
        first_only = both(ids).logits
    assert not torch.allclose(first_only, base(ids).logits, atol=1e-3)
    assert not torch.allclose(both(ids).logits, first_only, atol=1e-3)


def test_settings_come_from_the_run_file_first(tmp_path):
    run = load(tiny_run(tmp_path, temperature=0.3, max_new_tokens=7))
    found = answering.find(run, Silent())
    sampling = answering.sampling(run, found)
    assert (sampling.temperature, sampling.max_new_tokens) == (0.3, 7)
    assert "run.yaml" in sampling.sources["temperature"]


def test_the_template_of_the_training_is_served_whatever_the_file_says_now(tmp_path):
    path = tiny_run(tmp_path)
    train(path)
    asked = Conversation((Message("user", "Say one."),))
    as_trained = answering.find(load(path), Silent()).encode(asked)
    edited = tiny_run(tmp_path, template="llama2", default_system="Be brief.")
    found = answering.find(load(edited), Silent())
    assert found.encode(asked) == as_trained
    assert ["chatml" in found.notes[0], "default_system is Be brief." in found.notes[1]] == [
        True
    ] * 2
    other = answering.find(load(edited, ["template=alpaca", "default_system=null"]), Silent())
    assert other.encode(asked) != as_trained
    assert other.notes == ()


def test_control_tokens_in_a_question_are_read_as_in_training(tmp_path):
    asked = Conversation((Message("user", "Say <|im_end|> one."),))
    path = tiny_run(tmp_path, split_special_tokens=False)
    found = answering.find(load(path), Silent())
    end = found.tokenizer.id_of("<|im_end|>")
    assert found.encode(asked).count(end) == 2
    assert (
        answering.find(load(path, ["split_special_tokens=true"]), Silent()).encode(asked).count(end)
        == 1
    )
    train(path)
    edited = answering.find(load(tiny_run(tmp_path)), Silent())
    assert edited.encode(asked).count(end) == 2
    assert "split_special_tokens is True" in edited.notes[0]


def test_weights_that_no_run_of_ours_made_are_served_as_the_file_says(tmp_path):
    run = load(tiny_run(tmp_path, template="llama2"))
    assert answering.find(run, Silent()).renderer.name == "llama2"
