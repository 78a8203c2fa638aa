"""What is written loads again, here and in stock libraries."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, GenerationConfig

from tiny_run import tiny_run, train
from tunesmith.config.load import load
from tunesmith.errors import StoreError
from tunesmith.models.load import load_model
from tunesmith.training.material import gather, make_trainable
from tunesmith.training.outputs import generation_config, read_weights
from tunesmith.training.report import Silent


def test_the_generation_config_has_every_stop_id_once(tmp_path):
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": 2, "temperature": 0.6}')
    assert generation_config(tmp_path, (5, 2)) == {"eos_token_id": [5, 2], "temperature": 0.6}
    assert generation_config(tmp_path / "none", (5,)) == {"eos_token_id": [5]}


def test_a_stop_of_the_template_before_does_not_stay(tmp_path):
    """LLaVA's first stage ends in a line break; the second must be able to say one."""
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [198, 2]}')
    asked = {"control": {2, 5}}
    assert generation_config(tmp_path, (5,), **asked) == {"eos_token_id": [5, 198, 2]}
    (tmp_path / "run.yaml").write_text("")
    assert generation_config(tmp_path, (5,), **asked) == {"eos_token_id": [5, 2]}
    assert generation_config(tmp_path, (198,), **asked) == {"eos_token_id": [198, 2]}


JINJA = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
METHODS = [{"finetuning_type": "lora"}, {"finetuning_type": "full", "lora_rank": None}]


@pytest.mark.parametrize("method", METHODS, ids=["lora", "full"])
def test_every_file_that_engines_read_names_the_end_that_was_trained(tmp_path, method):
    """Here it is not the end that the model had; each engine reads another of the files."""
    path = tiny_run(tmp_path, max_steps=1, save_steps=1, **method)
    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
        file = tmp_path / "model" / name
        key = "eos_token" if name.startswith("tokenizer") else "eos_token_id"
        value = "<|endoftext|>" if key == "eos_token" else 0
        file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
    train(path)
    for directory in (tmp_path / "out", tmp_path / "out" / "checkpoint-1"):
        stock = AutoTokenizer.from_pretrained(directory)
        end = stock.convert_tokens_to_ids("<|im_end|>")
        assert stock.eos_token_id == end
        assert end in GenerationConfig.from_pretrained(directory).eos_token_id
        if method["finetuning_type"] == "full":
            assert end in json.loads((directory / "config.json").read_text())["eos_token_id"]


@pytest.mark.parametrize("method", METHODS, ids=["lora", "full"])
@pytest.mark.parametrize(
    "said",
    [{"template": "qwen"}, {"template": None}, {"template": None, "default_system": "Be brief."}],
    ids=["named", "own", "own with a system text"],
)
def test_stock_transformers_makes_the_prompt_of_training_of_a_result_and_a_checkpoint(
    tmp_path, method, said
):
    model = {"template": JINJA}
    path = tiny_run(tmp_path, model=model, max_steps=1, save_steps=1, **method, **said)
    train(path)
    example = gather(load(path), Silent()).data.train[0]
    messages = [{"role": "user", "content": "Say one 0.\nplease"}]
    for directory in (tmp_path / "out", tmp_path / "out" / "checkpoint-1"):
        stock = AutoTokenizer.from_pretrained(directory)
        prompt = stock.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)
        assert prompt["input_ids"] == example.ids[: example.trained.argmax()].tolist()


def test_weights_of_a_checkpoint_must_fit_tensor_by_tensor(tmp_path):
    run = load(tiny_run(tmp_path))
    material = gather(run, Silent())
    model = load_model(material.directory, dtype=torch.float32)
    make_trainable(run, model, ())
    from tunesmith.models.adapters import save_adapter

    directory = tmp_path / "adapter"
    directory.mkdir()
    save_adapter(model, directory, "base")
    read_weights(model, directory)
    path = directory / "adapter_model.safetensors"
    tensors = load_file(path)
    name = sorted(tensors)[0]
    save_file({**tensors, name: tensors[name][:1].clone()}, path)
    with pytest.raises(StoreError, match="lora_A"):
        read_weights(model, directory)
    save_file({k: v for k, v in tensors.items() if k != name}, path)
    with pytest.raises(StoreError, match="lora_A"):
        read_weights(model, directory)


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
def test_a_full_run_is_stored_in_the_dtype_of_its_base(tmp_path, stored):
    """Weights learn in fp32; what is handed out is as large as what came in."""
    path = tiny_run(tmp_path, finetuning_type="full", lora_rank=None, max_steps=2, save_steps=1)
    weights = tmp_path / "model" / "model.safetensors"
    tensors = {key: value.to(stored) for key, value in load_file(weights).items()}
    save_file(tensors, weights, metadata={"format": "pt"})
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    config["dtype"] = str(stored).removeprefix("torch.")
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    train(path)
    result = load_file(tmp_path / "out" / "model.safetensors")
    assert {tensor.dtype for tensor in result.values()} == {stored}
    checkpoint = load_file(tmp_path / "out" / "checkpoint-1" / "model.safetensors")
    assert {tensor.dtype for tensor in checkpoint.values()} == {torch.float32}
    said = json.loads((tmp_path / "out" / "config.json").read_text())["dtype"]
    assert said == str(stored).removeprefix("torch.")
