"""Two ways to one model are equal; ways to two models are not, and the door is named."""

import pytest
import torch

from tiny_export import adapter, written
from tiny_model import tiny_model
from tunesmith.errors import ModelError
from tunesmith.export import parity
from tunesmith.export.job import Serving
from tunesmith.export.merge import export
from tunesmith.models import tokenizer as tokenizers

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture
def base(tmp_path):
    return tiny_model(tmp_path, template=TEMPLATE)


def _between(a, b, **more):
    found = parity.compare(parity.side(str(a)), parity.side(str(b)), **more)
    return {door.name: door.equal for door in found.doors}, found


def test_a_directory_and_its_gguf_file_are_equal_at_every_door(tmp_path, base):
    path = written(base, tmp_path / "m.gguf", chat_template=TEMPLATE, stops=("<|im_end|>",))
    doors, found = _between(base, path, rows=[[5, 6, 7, 8]])
    assert doors == dict.fromkeys(doors, True)
    assert len(doors) == 5
    assert found.equal
    assert found.as_dict()["equal"] is True
    backwards, _ = _between(path, base)
    assert backwards == doors


def test_another_model_differs_where_it_does(tmp_path, base):
    serving = Serving(tokenizers.load(base))
    tuned = adapter(base, tmp_path / "a")
    export(base, [tuned], tmp_path / "out", serving=serving)
    doors, found = _between(base, tmp_path / "out")
    assert not found.equal
    assert doors["tokenizer ids"]
    assert doors["chat template"]
    assert doors["logits"] is False


def test_another_template_differs_in_prompts_and_text(tmp_path, base):
    other = TEMPLATE.replace("<|im_start|>", "<|endoftext|>")
    serving = Serving(tokenizers.load(base), other)
    export(base, [], tmp_path / "out", serving=serving)
    doors, _ = _between(base, tmp_path / "out")
    assert (doors["prompt ids"], doors["chat template"], doors["logits"]) == (False, False, True)


def test_what_a_type_explains_is_the_sum_of_both_sides(tmp_path, base):
    serving = Serving(tokenizers.load(base))
    export(base, [], tmp_path / "half", serving=serving, dtype=torch.bfloat16)
    doors, found = _between(base, tmp_path / "half")
    assert doors["logits"]
    assert "bfloat16" in next(door.said for door in found.doors if door.name == "logits")


def test_a_directory_of_one_gguf_file_is_that_file_and_a_run_is_none_of_these(tmp_path, base):
    place = tmp_path / "exported"
    place.mkdir()
    written(base, place / "m.gguf", "q8_0")
    side = parity.side(str(place))
    assert side.kind == "gguf"
    assert side.bound.name == "q8_0"
    assert parity.side("http://127.0.0.1:1").kind == "server"
    assert parity.side(str(tmp_path / "run.yaml")) is None
    (base / "run.yaml").touch()
    assert parity.side(str(base)) is None


def test_weights_quantised_by_others_are_refused(tmp_path, base):
    text = (base / "config.json").read_text()
    (base / "config.json").write_text(
        text.replace("{", '{"quantization_config": {"quant_method": "awq"},', 1)
    )
    with pytest.raises(ModelError, match="awq"):
        parity.side(str(base))
