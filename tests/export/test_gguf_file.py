"""A GGUF export is proved like any other; what cannot be one is refused before it is loaded."""

import unicodedata

import numpy as np
import pytest
import torch

from tiny_export import adapter
from tiny_model import tiny_model
from tunesmith.errors import ModelError, StoreError
from tunesmith.export import gguf_file, gguf_weights
from tunesmith.export.job import Serving
from tunesmith.export.merge import export
from tunesmith.export.proof import Probe
from tunesmith.export.said import Questions, Said
from tunesmith.models import gguf as reading
from tunesmith.models import gguf_families, gguf_tokenizer
from tunesmith.models import tokenizer as tokenizers
from tunesmith.models.load import load_model

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def _export(base, adapters, out, **more):
    serving = Serving(tokenizers.load(base), TEMPLATE, ("<|im_end|>",))
    whole = "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
    ids = serving.tokenizer.backend.encode(whole).ids
    probes = [Probe(ids, [{"role": "user", "content": "hello"}])]
    return export(base, adapters, out, serving=serving, probes=probes, **more)


def test_several_formats_come_of_one_merge_each_in_its_directory(tmp_path):
    base = tiny_model(tmp_path)
    tuned = adapter(base, tmp_path / "a")
    done = _export(base, [tuned], tmp_path / "out", format=["gguf-q8_0", "merged", "gguf-f32"])
    assert [part.format for part in done.parts] == ["gguf-q8_0", "merged", "gguf-f32"]
    assert [part.directory.name for part in done.parts] == ["gguf-q8_0", "merged", "gguf-f32"]
    above = (tmp_path / "out" / "README.md").read_text(encoding="utf8")
    assert all(f"]({part.format}/README.md)" in above for part in done.parts)
    exact = load_model(
        reading.convert(tmp_path / "out/gguf-f32/model-f32.gguf"), dtype=torch.float32
    )
    merged = load_model(tmp_path / "out" / "merged", dtype=torch.float32)
    for name, weights in merged.state_dict().items():
        assert torch.equal(exact.state_dict()[name], weights)
    for part in done.parts:
        assert {door.name for door in part.proof.doors if door.equal} == {
            "tokenizer ids", "prompt ids", "chat template", "logits", "greedy answers",
        }  # fmt: skip
        assert (part.directory / "README.md").exists()
    assert done.parts[0].proof.largest_difference > done.parts[2].proof.largest_difference
    assert done.as_dict()["parts"][0]["format"] == "gguf-q8_0"


def test_rows_whose_order_is_wrong_are_found_at_the_door_of_logits_and_nothing_is_left(
    tmp_path, monkeypatch
):
    base = tiny_model(tmp_path)
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(gguf_families, "rotate", lambda weights, heads: weights)
    with pytest.raises(ModelError, match="logits"):
        _export(base, [], tmp_path / "out", format=["merged", "gguf-f16"])
    assert list((tmp_path / "out").iterdir()) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["llama", "out"]


def test_another_vocabulary_is_found_at_its_door(tmp_path, monkeypatch):
    base = tiny_model(tmp_path)
    honest = gguf_weights.write

    def swapped(path, model, *, vocabulary, **more):
        tokens = list(vocabulary["tokenizer.ggml.tokens"])
        tokens[300], tokens[301] = tokens[301], tokens[300]
        tokens[11], tokens[12] = tokens[12], tokens[11]
        honest(path, model, vocabulary=vocabulary | {"tokenizer.ggml.tokens": tokens}, **more)

    monkeypatch.setattr(gguf_weights, "write", swapped)
    with pytest.raises(ModelError, match="tokenizer ids"):
        _export(base, [], tmp_path / "out", format=["gguf-f16"])
    assert not (tmp_path / "out").exists()


def test_another_chat_template_is_found_at_its_door(tmp_path, monkeypatch):
    base = tiny_model(tmp_path)
    honest = gguf_weights.write

    def other(path, model, *, vocabulary, **more):
        text = TEMPLATE.replace("user", "human") + " "
        keys = vocabulary | {"tokenizer.chat_template": text}
        honest(path, model, vocabulary=keys, **more)

    monkeypatch.setattr(gguf_weights, "write", other)
    with pytest.raises(ModelError, match=r"prompt ids|chat template"):
        _export(base, [], tmp_path / "out", format=["gguf-f16"])


@pytest.mark.parametrize(
    ("kind", "more", "named"),
    [
        ("gpt2", {}, "model_type"),
        ("phi3", {"pad_token_id": 0}, "model_type"),
        ("mistral", {"sliding_window": 16}, "sliding_window"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is_loaded(tmp_path, kind, more, named):
    base, phases = tiny_model(tmp_path, kind, **more), []
    with pytest.raises(ModelError, match=named) as caught:
        _export(base, [], tmp_path / "out", format=["gguf-f16"], progress=phases.append)
    assert phases == []
    assert not (tmp_path / "out").exists()
    if named == "model_type":
        assert "llama, mistral, qwen2, qwen3, gemma" in caught.value.need


def test_a_disk_that_fills_up_in_the_middle_leaves_nothing(tmp_path, monkeypatch):
    import gguf

    base = tiny_model(tmp_path)
    honest, written = gguf.GGUFWriter.write_tensor_data, []

    def full(self, tensor, *rest):
        written.append(tensor.nbytes)
        if len(written) == 5:
            raise OSError(28, "No space left on device")
        return honest(self, tensor, *rest)

    monkeypatch.setattr(gguf.GGUFWriter, "write_tensor_data", full)
    with pytest.raises(StoreError, match="space"):
        _export(base, [], tmp_path / "out", format=["merged", "gguf-f16"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["llama"]


def test_texts_that_are_put_into_nfc_are_asked_in_it(tmp_path):
    base = tiny_model(tmp_path)
    tokenizer = tokenizers.load(base)
    gguf_tokenizer.cut_as(tokenizer.backend, gguf_tokenizer.PRE_TOKENIZERS["qwen2"])
    tokenizer.backend.save(str(base / "tokenizer.json"))
    done = _export(base, [], tmp_path / "out", format=["gguf-f32"])
    assert any("NFC" in note for note in done.notes)


def test_probes_are_asked_without_marks_where_llama_cpp_cuts_at_them_and_rows_as_they_are(tmp_path):
    tokenizer = tokenizers.load(tiny_model(tmp_path))
    gguf_tokenizer.cut_as(tokenizer.backend, gguf_tokenizer.PRE_TOKENIZERS["tekken"])
    job = type("Job", (), {"serving": Serving(tokenizer)})()
    row = "नमस्ते, a row of the run"
    given = Questions([*tokenizers.PROBE, row], [], [[1]], [[1]])
    asked, said = gguf_file.composed(job, given, Said("", ids=[]))
    assert asked.texts[-1] == row
    *probes, _ = asked.texts
    assert probes != list(tokenizers.PROBE)
    assert not any(unicodedata.combining(c) or "\u0900" < c < "\u0903" for c in "".join(probes))
    backend = tokenizer.backend
    assert said.ids[::2] == [backend.encode(t, add_special_tokens=False).ids for t in asked.texts]


def test_the_bound_of_a_family_that_llama_cpp_computes_by_a_table_is_wider(tmp_path):
    config = {
        "model_type": "gemma",
        "hidden_activation": "gelu_pytorch_tanh",
        "rope_parameters": {},
    }
    job = type("Job", (), {"config": config, "model_dir": tmp_path})()
    assert gguf_file.bound("f32", job).share > gguf_file.KINDS["f32"].bound.share
    assert gguf_file.bound("q8_0", job) == gguf_file.KINDS["q8_0"].bound
    assert np.isfinite(gguf_file.bound("f32", job).kl)
