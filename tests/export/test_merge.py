"""What is exported is a plain transformers directory that says what the tuned model said."""

import json
import signal
import subprocess
import sys

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from tiny_model import tiny_model
from tunesmith import store
from tunesmith.errors import ModelError, OutputError, StoreError
from tunesmith.export.job import Serving
from tunesmith.export.merge import export
from tunesmith.export.proof import Probe
from tunesmith.models import adapters
from tunesmith.models import tokenizer as tokenizers
from tunesmith.models.adapter_spec import LoraSpec
from tunesmith.models.load import load_model

TEMPLATE = "{% for message in messages %}{{ message['content'] }}<|im_end|>\n{% endfor %}"
IDS = torch.tensor([[5, 20, 31, 7, 44, 101, 9]])


def _adapter(base, directory, *, seed=1, size=0.1, **spec):
    model = load_model(base, dtype=torch.float32)
    adapters.attach(model, LoraSpec(**({"rank": 4, "alpha": 8} | spec)), seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in adapters.trainable(model).items():
        if not name.endswith("lora_A"):
            parameter.data.add_(torch.randn(parameter.shape, generator=generator) * size)
    directory.mkdir(parents=True)
    adapters.save_adapter(model, directory, str(base))
    return directory


def _serving(base, **more):
    return Serving(tokenizers.load(base), **more)


def _peft_logits(base, adapter):
    from peft import PeftModel

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with torch.no_grad():
        return PeftModel.from_pretrained(model, adapter)(IDS).logits[0]


def _stock_logits(directory):
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    with torch.no_grad():
        return model(IDS).logits[0]


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma2"])
@pytest.mark.parametrize("tied", [True, False])
def test_the_merged_model_is_pefts_adapted_model(tmp_path, kind, tied):
    base = tiny_model(tmp_path, kind, tied=tied)
    adapter = _adapter(base, tmp_path / "adapter")
    done = export(base, [adapter], tmp_path / "out", serving=_serving(base))
    want, got = _peft_logits(base, adapter), _stock_logits(tmp_path / "out")
    torch.testing.assert_close(got, want, rtol=1e-5, atol=2e-5)
    assert (got - _stock_logits(base)).abs().max() > 0.1, "the adapter is in it"
    assert done.layers == 14
    assert done.proof.argmax_equal == 1
    assert done.proof.worn < 1e-3
    assert done.dtype == "float32"


@pytest.mark.parametrize("spec", [{"rslora": True}, {"rank": 16, "alpha": 4}])
def test_the_scaling_of_every_variant_is_that_of_peft(tmp_path, spec):
    base = tiny_model(tmp_path)
    adapter = _adapter(base, tmp_path / "adapter", **spec)
    export(base, [adapter], tmp_path / "out", serving=_serving(base))
    want = _peft_logits(base, adapter)
    torch.testing.assert_close(_stock_logits(tmp_path / "out"), want, rtol=1e-5, atol=2e-5)


def test_several_adapters_are_added_one_after_another(tmp_path):
    base = tiny_model(tmp_path)
    both = [_adapter(base, tmp_path / name, seed=i) for i, name in enumerate("ab")]
    done = export(base, both, tmp_path / "out", serving=_serving(base))
    export(base, both[:1], tmp_path / "first", serving=_serving(base))
    export(tmp_path / "first", both[1:], tmp_path / "second", serving=_serving(base))
    assert done.adapters == 2
    torch.testing.assert_close(
        _stock_logits(tmp_path / "out"), _stock_logits(tmp_path / "second"), rtol=1e-5, atol=2e-5
    )


def test_trained_embeddings_survive_the_merge(tmp_path):
    base = tiny_model(tmp_path, tied=True)
    adapter = _adapter(base, tmp_path / "adapter", additional_target=("embed_tokens",))
    export(base, [adapter], tmp_path / "out", serving=_serving(base))
    exported = load_model(tmp_path / "out", dtype=torch.float32)
    assert exported.config.tie_word_embeddings
    before = load_model(base, dtype=torch.float32).get_input_embeddings().weight
    assert not torch.equal(exported.get_input_embeddings().weight, before)


def test_an_adapter_on_a_tied_head_unties_it_and_the_config_says_so(tmp_path):
    base = tiny_model(tmp_path, tied=True)
    adapter = _adapter(base, tmp_path / "adapter", target=("lm_head", "q_proj"))
    export(base, [adapter], tmp_path / "out", serving=_serving(base))
    exported = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    assert not exported.config.tie_word_embeddings
    before = load_model(base, dtype=torch.float32).get_input_embeddings().weight
    assert torch.equal(exported.get_input_embeddings().weight, before)
    assert not torch.equal(exported.get_output_embeddings().weight, before)


def test_without_adapters_the_weights_stay_the_same_bits(tmp_path):
    base = tiny_model(tmp_path)
    done = export(base, [], tmp_path / "out", serving=_serving(base))
    assert (done.adapters, done.layers, done.proof.worn) == (0, 0, None)
    mine, theirs = (
        load_model(d, dtype=torch.float32).state_dict() for d in (tmp_path / "out", base)
    )
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_stored_type_is_the_one_asked_for_and_rounded_once(tmp_path, dtype):
    base = tiny_model(tmp_path)
    adapter = _adapter(base, tmp_path / "adapter")
    done = export(base, [adapter], tmp_path / "out", serving=_serving(base), dtype=dtype)
    exact = load_model(base, dtype=torch.float32)
    adapters.load_adapter(exact, adapter, trainable=False)
    adapters.merge(exact)
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "out").state_dict()
    for name, tensor in exact.state_dict().items():
        assert found[name].dtype == dtype
        assert torch.equal(found[name], tensor.to(dtype))
    assert 0 < done.proof.largest_difference < done.proof.bound
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["dtype"] == str(dtype).removeprefix("torch.")


def test_the_bases_own_type_is_kept_when_none_is_asked_for(tmp_path):
    base = tiny_model(tmp_path)
    export(base, [], tmp_path / "half", serving=_serving(base), dtype=torch.bfloat16)
    adapter = _adapter(base, tmp_path / "adapter")
    done = export(tmp_path / "half", [adapter], tmp_path / "out", serving=_serving(base))
    assert done.dtype == "bfloat16"


def test_training_that_rounding_would_erase_is_refused_and_nothing_is_left(tmp_path):
    base = tiny_model(tmp_path)
    export(base, [], tmp_path / "half", serving=_serving(base), dtype=torch.bfloat16)
    adapter = _adapter(base, tmp_path / "adapter", size=3e-5)
    with pytest.raises(ModelError, match="undoes"):
        export(tmp_path / "half", [adapter], tmp_path / "out", serving=_serving(base))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["adapter", "half", "llama"]
    done = export(
        tmp_path / "half", [adapter], tmp_path / "out", serving=_serving(base), dtype=torch.float32
    )
    assert done.proof.worn < 0.1


def test_large_models_come_in_shards_with_an_index_and_load(tmp_path):
    base = tiny_model(tmp_path, hidden_size=256, intermediate_size=512, vocab=2000)
    done = export(base, [], tmp_path / "out", serving=_serving(base), max_shard_gb=0.003)
    assert done.weight_files > 1
    assert (tmp_path / "out" / "model.safetensors.index.json").exists()
    assert torch.equal(_stock_logits(tmp_path / "out"), _stock_logits(base))


def test_every_stop_token_is_in_every_file_that_engines_read(tmp_path):
    base = tiny_model(tmp_path)
    serving = _serving(base, stop_words=("</think>", "\nUser:"))
    done = export(base, [], tmp_path / "out", serving=serving)
    assert done.stop_tokens == ("</think>", "<|im_end|>")
    ids = [serving.tokenizer.id_of(token) for token in done.stop_tokens]
    assert GenerationConfig.from_pretrained(tmp_path / "out").eos_token_id == ids
    assert json.loads((tmp_path / "out" / "config.json").read_text())["eos_token_id"] == ids
    assert AutoTokenizer.from_pretrained(tmp_path / "out").eos_token == "</think>"


def test_generation_settings_of_the_base_are_kept_even_odd_ones(tmp_path):
    base = tiny_model(tmp_path)
    odd = {"do_sample": False, "temperature": 0.6, "eos_token_id": 0}
    (base / "generation_config.json").write_text(json.dumps(odd))
    export(base, [], tmp_path / "out", serving=_serving(base))
    found = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert (found["do_sample"], found["temperature"]) == (False, 0.6)


def test_the_template_that_was_trained_is_the_one_that_is_written(tmp_path):
    base = tiny_model(tmp_path)
    serving = _serving(base, chat_template=TEMPLATE)
    ids = serving.tokenizer.backend.encode("Hi there<|im_end|>\n").ids
    probe = Probe(ids, [{"role": "user", "content": "Hi there"}])
    export(base, [], tmp_path / "out", serving=serving, probes=[probe])
    stock = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert stock.apply_chat_template(probe.messages, return_dict=True)["input_ids"] == ids
    wrong = [probe._replace(ids=[*ids, 5])]
    with pytest.raises(ModelError, match="chat_template"):
        export(base, [], tmp_path / "other", serving=serving, probes=wrong)
    assert not (tmp_path / "other").exists()


def test_a_failed_export_leaves_the_older_one_as_it_was(tmp_path):
    base, out = tiny_model(tmp_path), tmp_path / "out"
    export(base, [], out, serving=_serving(base))
    before = store.verify(out)
    wrong = [Probe([5, 6], [{"role": "user", "content": "x"}])]
    with pytest.raises(ModelError):
        export(base, [], out, serving=_serving(base, chat_template=TEMPLATE), probes=wrong)
    assert store.verify(out) == before
    adapter = _adapter(base, tmp_path / "adapter")
    export(base, [adapter], out, serving=_serving(base))
    assert store.verify(out).facts["adapters"] == [str(adapter)]


def test_what_a_killed_export_left_is_removed_by_the_next_and_told(tmp_path):
    base, out = tiny_model(tmp_path), tmp_path / "out"
    killed = """
import os, signal, sys
from pathlib import Path
from tunesmith.export.job import Serving
from tunesmith.export.merge import export
from tunesmith.models import tokenizer
def told(phase):
    if phase == "proving":
        os.kill(os.getpid(), signal.SIGKILL)
base, out = map(Path, sys.argv[1:])
export(base, [], out, serving=Serving(tokenizer.load(base)), progress=told)
"""
    ended = subprocess.run([sys.executable, "-c", killed, base, out])
    assert ended.returncode == -signal.SIGKILL
    [left] = [path for path in tmp_path.iterdir() if ".tmp-" in path.name]
    assert any(left.glob("*.safetensors")), "as large as the model"
    others = tmp_path / ".other.tmp-4194303-5-7"
    others.mkdir()
    done = export(base, [], out, serving=_serving(base))
    assert f"{left.name}: removed, an unfinished write" in done.notes
    assert {path.name for path in tmp_path.iterdir()} == {base.name, "out", others.name}


def test_two_exports_to_one_directory_at_a_time_are_refused(tmp_path):
    base, out = tiny_model(tmp_path), tmp_path / "out"
    holding = """
import sys
from pathlib import Path
from tunesmith import store
with store.lock(Path(sys.argv[1])):
    print("held", flush=True)
    input()
"""
    holder = subprocess.Popen(
        [sys.executable, "-c", holding, out], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout
    holder.stdout.readline()
    with pytest.raises(OutputError, match=f"in use by process {holder.pid}"):
        export(base, [], out, serving=_serving(base))
    holder.communicate(b"\n")
    assert export(base, [], out, serving=_serving(base)).weight_files == 1


def test_only_an_export_is_ever_replaced(tmp_path):
    base, out = tiny_model(tmp_path), tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match=r"thesis\.txt"):
        export(base, [], out, serving=_serving(base))
    checkpoint = tmp_path / "checkpoint-5"
    with store.publish(checkpoint, facts={"kind": "checkpoint"}) as place:
        (place / "x").write_text("x")
    for wrong in (checkpoint, base, tmp_path, base / "config.json"):
        with pytest.raises(OutputError):
            export(base, [], wrong, serving=_serving(base))
    assert (out / "thesis.txt").read_text() == "years of work"
    store.verify(checkpoint)


def test_an_export_may_lie_in_the_run_that_it_comes_from(tmp_path):
    base = tiny_model(tmp_path)
    adapter = _adapter(base, tmp_path / "run")
    done = export(base, [adapter], adapter / "export", serving=_serving(base))
    assert done.directory == adapter / "export"


def test_an_empty_directory_is_filled(tmp_path):
    (tmp_path / "out").mkdir()
    base = tiny_model(tmp_path)
    assert export(base, [], tmp_path / "out", serving=_serving(base)).weight_files == 1


def test_a_disk_that_is_too_small_is_named_before_anything_is_loaded(tmp_path):
    base = tiny_model(tmp_path)
    phases = []
    free = store.free_bytes(tmp_path)
    huge = base / "model.safetensors"
    header = json.dumps(
        {"x": {"dtype": "F32", "shape": [free], "data_offsets": [0, 4 * free]}}
    ).encode()
    huge.write_bytes(len(header).to_bytes(8, "little") + header)
    with huge.open("r+b") as file:
        try:
            file.truncate(8 + len(header) + 4 * free)  # holes: takes no room
        except OSError:
            pytest.skip("the file system has no files with holes of this size")
    with pytest.raises(StoreError, match="bytes free"):
        export(base, [], tmp_path / "out", serving=_serving(base), progress=phases.append)
    assert phases == []


def test_a_disk_that_fills_up_in_the_middle_leaves_nothing(tmp_path, monkeypatch):
    from transformers import modeling_utils

    base = tiny_model(tmp_path, hidden_size=256, intermediate_size=512, vocab=2000)
    honest, written = modeling_utils.safe_save_file, []

    def full(tensors, path, **keys):
        written.append(path)
        if len(written) == 2:
            honest({}, path, **keys)  # a part of it is there
            raise RuntimeError("Error while serializing: I/O error: ... (os error 28)")
        return honest(tensors, path, **keys)

    monkeypatch.setattr(modeling_utils, "safe_save_file", full)
    with pytest.raises(StoreError, match="space"):
        export(base, [], tmp_path / "out", serving=_serving(base), max_shard_gb=0.003)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["llama"]


def test_quantised_weights_are_not_merged_into(tmp_path):
    base = tiny_model(tmp_path)
    config = json.loads((base / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (base / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="gptq"):
        export(base, [], tmp_path / "out", serving=_serving(base))


def test_licences_go_along_and_the_card_names_base_and_stops(tmp_path):
    base = tiny_model(tmp_path)
    (base / "LICENSE.txt").write_text("Be kind.")
    export(base, [], tmp_path / "out", serving=_serving(base))
    assert (tmp_path / "out" / "LICENSE.txt").read_text() == "Be kind."
    text = (tmp_path / "out" / "README.md").read_text()
    assert str(base) in text
    assert "<|im_end|>" in text
    assert "float32" in text


def test_no_path_of_this_machine_is_in_the_config_and_all_files_are_readable(tmp_path):
    base = tiny_model(tmp_path)
    export(base, [], tmp_path / "out", serving=_serving(base))
    assert str(tmp_path) not in (tmp_path / "out" / "config.json").read_text()
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()}
    assert len(modes) == 1
    assert modes.pop() & 0o600 == 0o600


def test_the_report_is_json_and_the_phases_are_told(tmp_path):
    base, phases = tiny_model(tmp_path), []
    done = export(base, [], tmp_path / "out", serving=_serving(base), progress=phases.append)
    assert json.loads(json.dumps(done.as_dict()))["proof"]["argmax_equal"] == 1
    assert phases == ["loading", "asking the tuned model", "merging", "writing", "proving"]
    assert done.bytes > 4 * sum(
        p.numel() for p in load_model(base, dtype=torch.float32).parameters()
    )


def test_where_stock_autotokenizer_is_wrong_the_right_loader_is_named(tmp_path):
    from pathlib import Path

    shared = Path(__file__).parents[3] / "shared" / "tokenizers" / "deepseek_v3"
    if not shared.exists():
        pytest.skip("real tokenizers are not beside the checkout")
    base = tiny_model(tmp_path, "qwen2", vocab=128_896, hidden_size=16, tokenizer=False)
    for path in shared.iterdir():
        (base / path.name).write_bytes(path.read_bytes())
    done = export(base, [], tmp_path / "out", serving=_serving(base))
    assert tokenizers.RIGHT_LOADER in " ".join(done.notes)
    assert tokenizers.RIGHT_LOADER in (tmp_path / "out" / "README.md").read_text().replace("\\", "")
