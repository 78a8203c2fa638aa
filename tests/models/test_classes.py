"""A model is of the class that has everything its config speaks of."""

from tiny_model import tiny_model
from tiny_vlm import tiny_vlm
from tunesmith.models.classes import auto_class, class_of, sees_or_hears
from tunesmith.models.load import read_config


def test_text_and_pictures(tmp_path):
    reads, sees = (read_config(make(tmp_path)) for make in (tiny_model, tiny_vlm))
    assert [sees_or_hears(config) for config in (reads, sees)] == [False, True]
    assert auto_class(reads).__name__ == "AutoModelForCausalLM"
    assert class_of(reads).__name__ == "LlamaForCausalLM"
    assert class_of(sees).__name__ == "LlavaForConditionalGeneration"


def test_of_two_classes_the_one_with_a_tower(tmp_path):
    config = read_config(tiny_vlm(tmp_path, "mllama"))
    assert class_of(config).__name__ == "MllamaForConditionalGeneration"
