"""What is not there is refused at the place of its key, before the model is loaded."""

import sys

import pytest

from tiny_run import tiny_run, train
from tunesmith.config.load import load
from tunesmith.errors import ConfigError
from tunesmith.training import asking
from tunesmith.training import run as training
from tunesmith.training.report import Silent


@pytest.mark.parametrize(
    ("keys", "hint"),
    [
        ({"quantization_bit": 4}, "tunesmith[bnb]"),
        ({"optim": "adamw_8bit"}, "tunesmith[bnb]"),
        ({"flash_attn": "fa2"}, "flash_attn: auto"),
        ({"optim": "sgd", "optim_args": "nesterov=true"}, ""),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_it_is_refused_by_the_plan_and_nothing_is_written(tmp_path, monkeypatch, keys, hint):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    path, key = tiny_run(tmp_path, **keys), list(keys)[-1]
    for verb in (lambda: training.plan(load(path), Silent()), lambda: train(path)):
        with pytest.raises(ConfigError) as caught:
            verb()
        assert caught.value.where.startswith(f"{path}:")
        assert caught.value.where.endswith(key)
        assert hint in caught.value.hint
    assert not (tmp_path / "out" / "run.json").exists()


def test_muon_over_adapters_and_paged_states_without_a_gpu_are_told(tmp_path):
    path = tiny_run(tmp_path)
    for keys, word in (({"use_muon": True}, "muon"), ({"optim": "paged_adamw_8bit"}, "CUDA only")):
        notes = training.plan(load(path, keys), Silent())[0].notes
        assert any(word in note for note in notes), notes
        assert not any(word in note for note in training.plan(load(path), Silent())[0].notes)


def test_the_kernel_that_is_asked_for_stands_in_the_plan(tmp_path):
    path = tiny_run(tmp_path)
    plans = [
        training.plan(load(path, {"flash_attn": name}), Silent())[0] for name in ("auto", "sdpa")
    ]
    apart = "each document alone, no padding"
    assert plans[0].attention.startswith(f"{apart} (")
    assert plans[1].attention == f"{apart}; torch's scaled_dot_product_attention"
    assert asking.kernel(load(path)) == ""
    assert plans[0].identity != plans[1].identity
