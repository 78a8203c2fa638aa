"""What is written as GGUF is what llama.cpp reads: ids, logits, greedy answers, template.

Needs `pip install "tunesmith[gguf-quantize]"` (built from source with cmake, some minutes).
"""

import importlib.util

import pytest
import torch
from transformers import AutoModelForCausalLM

from real_tokenizers import NAMES, real
from tiny_export import FAMILIES, family, written
from tiny_model import tiny_model
from tunesmith.export import gate, gguf_file, read_gguf, read_transformers
from tunesmith.export.job import Serving
from tunesmith.export.merge import export
from tunesmith.export.said import Questions
from tunesmith.models import tokenizer as tokenizers

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("llama_cpp") is None,
        reason='llama.cpp is not installed: pip install "tunesmith[gguf-quantize]"',
    ),
    pytest.mark.filterwarnings("ignore"),  # of the binding, at its end
]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ASKED = Questions(
    list(tokenizers.PROBE),
    [[{"role": "user", "content": "hello there, 你好"}]],
    [[5, 20, 31, 7, 44, 101, 9] * 6],
    [[5, 20, 31], [101] * 20],
)


def _bound(kind, directory):
    config = AutoModelForCausalLM.from_pretrained(directory).config.to_dict()
    job = type("Job", (), {"config": config, "model_dir": directory})()
    return gguf_file.bound(kind, job)


@pytest.mark.parametrize("kind", ["f32", "f16", "bf16", "q8_0"])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_says_in_llama_cpp_what_it_says_in_transformers(tmp_path, name, kind):
    source = family(tmp_path, name)
    (source / "chat_template.jinja").write_text(TEMPLATE)
    path = written(source, tmp_path / "m.gguf", kind, chat_template=TEMPLATE, stops=("<|im_end|>",))
    want, got = read_transformers.read(source, ASKED), read_gguf.read(path, ASKED)
    assert got.reader.startswith("llama.cpp")
    doors = gate.compare(want, got, _bound(kind, source))
    print(f"{name:24} {kind:5} {doors[3].said}; {doors[4].said}")
    assert [(door.name, door.equal) for door in doors] == [(door.name, True) for door in doors]


@pytest.mark.parametrize("name", NAMES)
def test_published_tokenizers_give_the_same_ids_in_llama_cpp(tmp_path, name):
    tokenizer = real(name)
    rows = 1 + max(tokenizer.backend.get_vocab().values())
    shape = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1}
    source = tiny_model(tmp_path, vocab=rows, tokenizer=False, **shape)
    tokenizers.save(tokenizer, source)
    path = written(source, tmp_path / "m.gguf", "q8_0")
    texts = [*tokenizers.PROBE, *(f"a{t}b {t}" for t in (tokenizer.eos, tokenizer.bos) if t)]
    asked = Questions(texts, [], [[1, 2]], [[1]], new_tokens=1)
    job = type("Job", (), {"serving": Serving(tokenizer)})()
    asked, _ = gguf_file.composed(job, asked, None)
    got = read_gguf.read(path, asked).ids
    for i, text in enumerate(asked.texts):
        for k, special in enumerate((False, True)):
            want = tokenizer.backend.encode(text, add_special_tokens=special).ids
            assert got[2 * i + k] == want, text


def test_four_bits_are_llama_cpps_own(tmp_path):
    base = tiny_model(tmp_path, hidden_size=256, intermediate_size=512, head_dim=64)
    serving = Serving(tokenizers.load(base), TEMPLATE, ("<|im_end|>",))
    done = export(base, [], tmp_path / "out", serving=serving, format=["gguf-q4_k_m", "gguf-q8_0"])
    four, eight = (part.proof for part in done.parts)
    assert four.reader.startswith("llama.cpp")
    assert eight.kl < four.kl < four.kl_bound
    sizes = [part.bytes for part in done.parts]
    assert sizes[0] < 0.7 * sizes[1]
    assert sorted(p.suffix for p in (tmp_path / "out/gguf-q4_k_m").iterdir()) == [".gguf", ".md"]
    assert torch.isfinite(torch.tensor(four.largest_difference))
