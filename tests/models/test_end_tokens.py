"""What ends an answer is read from the files beside a model."""

import json

import pytest
import tokenizers

from tiny_tokenizer import tiny_tokenizer
from tunesmith.models.end_tokens import end_tokens


@pytest.fixture
def beside(tmp_path):
    """A directory, its tokenizer, and a way to name its ends."""
    backend = tokenizers.Tokenizer.from_file(str(tiny_tokenizer(tmp_path) / "tokenizer.json"))

    def say(*tokens, name="generation_config.json"):
        ids = [backend.token_to_id(token) for token in tokens]
        (tmp_path / name).write_text(json.dumps({"eos_token_id": ids}))
        return end_tokens(tmp_path, backend)

    return say


def test_the_generation_config_comes_first(beside):
    assert beside("<|im_end|>", name="config.json") == (["<|im_end|>"], "config.json")
    ends = ["<|endoftext|>", "<|im_end|>"]
    assert beside(*ends) == (ends, "generation_config.json")


def test_text_that_ended_the_turns_of_a_run_does_not_end_those_of_the_next(beside, tmp_path):
    assert beside("\u010a", "<|im_end|>")[0] == ["\u010a", "<|im_end|>"]
    (tmp_path / "run.yaml").write_text("")
    assert beside("\u010a", "<|im_end|>")[0] == ["<|im_end|>"]
    assert beside("\u010a")[0] == ["\u010a"]  # nothing else would end an answer
