"""Every kind of adapter through runs: answered, merged, gone on with, put on top of another."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from oracle import Adapter, oracle
from tiny_run import tiny_rows, tiny_run, train
from tunesmith.cli import answering
from tunesmith.cli.main import main
from tunesmith.config.load import load
from tunesmith.errors import ConfigError, ModelError
from tunesmith.models import adapters
from tunesmith.models.adapter_files import read_spec, read_tensors
from tunesmith.models.load import load_model
from tunesmith.training import planning
from tunesmith.training.job import Job
from tunesmith.training.material import gather
from tunesmith.training.report import Silent

KINDS = {
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "pissa": {"pissa_init": True},
    "pissa, whole": {"pissa_init": True, "pissa_iter": -1, "use_rslora": True},
    "lora+": {"loraplus_lr_ratio": 16},
    "head": {"lora_target": "q_proj,lm_head"},
}
some = pytest.mark.parametrize("kind", ["dora", "pissa", "head"])
pytestmark = pytest.mark.filterwarnings("ignore")  # of peft
IDS = torch.arange(5, 40)[None]
NEAR = {"rtol": 1e-4, "atol": 1e-4}


@torch.no_grad()
def logits(model):
    return model.eval()(input_ids=IDS).logits


def stock(directory):
    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)


def peft_logits(tmp_path, directory):
    from peft import PeftModel

    return logits(PeftModel.from_pretrained(stock(tmp_path / "model"), directory))


def answers(path, **keys):
    run = load(path, keys)
    return logits(answering.load(run, answering.find(run, Silent())))


def small(tmp_path, **keys):
    return tiny_run(tmp_path, **{"learning_rate": 1e-2, "rows": tiny_rows(6)} | keys)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_run_leaves_is_one_model_here_in_peft_and_merged(tmp_path, kind):
    path = small(tmp_path, **KINDS[kind])
    train(path)
    said = answers(path)
    assert (said - logits(stock(tmp_path / "model"))).abs().max() > 0.02
    torch.testing.assert_close(peft_logits(tmp_path, tmp_path / "out"), said, **NEAR)
    assert main(["export", str(path), f"export_dir={tmp_path / 'merged'}"]) == 0
    torch.testing.assert_close(logits(stock(tmp_path / "merged")), said, **NEAR)


@some
def test_an_adapter_is_gone_on_with_as_the_kind_that_it_is(tmp_path, kind):
    path, first = small(tmp_path, **KINDS[kind]), tmp_path / "first"
    train(path, output_dir=str(first))
    run = load(path, {"adapter_name_or_path": str(first)})
    material = gather(run, Silent())
    job = Job(run, planning.make(run, material), material, tmp_path / "new", report=Silent())
    fresh = load_model(tmp_path / "model", dtype=torch.float32)
    adapters.attach(fresh, read_spec(first)._replace(pissa=None), seed=0)
    assert adapters.trainable(job.model).keys() == adapters.trainable(fresh).keys()
    assert material.trainable == sum(p.numel() for p in adapters.trainable(fresh).values())
    kept = adapters.adapter_tensors(job.model)
    assert all(torch.equal(kept[k], v) for k, v in read_tensors(first).items())
    train(path, adapter_name_or_path=str(first))
    said = answers(path)
    assert (said - answers(path, output_dir=str(first))).abs().max() > 0.02
    torch.testing.assert_close(peft_logits(tmp_path, tmp_path / "out"), said, **NEAR)


@some
def test_a_new_adapter_stands_on_the_merged_one(tmp_path, kind):
    path, first = small(tmp_path, **KINDS[kind]), tmp_path / "first"
    train(path, output_dir=str(first))
    assert main(["export", str(path), f"output_dir={first}", f"export_dir={tmp_path / 'm'}"]) == 0
    over = {"adapter_name_or_path": str(first), "create_new_adapter": True}
    train(path, **over)
    said = answers(path, **over)
    train(path, model_name_or_path=str(tmp_path / "m"), output_dir=str(tmp_path / "apart"))
    apart = answers(path, model_name_or_path=str(tmp_path / "m"),
                    output_dir=str(tmp_path / "apart"))  # fmt: skip
    torch.testing.assert_close(said, apart, rtol=1e-3, atol=2e-3)
    assert (said - answers(path, output_dir=str(first))).abs().max() > 0.02


@pytest.mark.parametrize("keys", [{}, {"use_rslora": True, "lora_alpha": 6}, {"pissa_init": True}])
@pytest.mark.parametrize("ratio", [None, 16.0])
def test_the_first_update_is_the_oracles_for_a_and_for_b(tmp_path, keys, ratio):
    """With plain descent the update is rate times gradient, times the ratio for B."""
    rate, rank = 1e-2, 4
    path = small(tmp_path, **keys, loraplus_lr_ratio=ratio, optim="sgd", max_grad_norm=0,
                 max_steps=1, learning_rate=rate, lr_scheduler_type="constant",
                 num_train_epochs=None)  # fmt: skip
    run = load(path)
    material = gather(run, Silent())
    job = Job(run, planning.make(run, material), material, tmp_path / "o", report=Silent())
    before = {n: p.detach().clone() for n, p in job.parameters.items()}
    scaling = run.method.alpha / (rank**0.5 if run.method.use_rslora else rank)
    found, less = {}, {}
    for name in adapters.attached(job.model):
        layer = job.model.get_submodule(name)
        if run.method.pissa_init:
            less[name] = scaling * layer.lora_B.detach().double() @ layer.lora_A.detach().double()
        a, b = (getattr(layer, f"lora_{x}").detach().clone() for x in "AB")
        found[name] = Adapter(a, b, scaling, None, less.get(name))
    rows = [material.data.train[i] for i in job.units.examples(1)]
    truth = oracle(material.directory, rows, adapters=found)

    class Unwatched:
        metrics_so_far = ()

    next(job.steps(Unwatched()))
    for name, parameter in job.parameters.items():
        times = (ratio or 1) if name.endswith("lora_B") else 1
        want = before[name].double() - rate * times * truth.gradients[name]
        moved = (want - before[name]).norm()
        assert (parameter.double() - want).norm() <= 1e-4 * moved + 1e-7, name
        assert moved > 0 or (name.endswith("lora_A") and not run.method.pissa_init)


def test_the_file_of_pissa_has_twice_the_rank_and_says_so_to_peft(tmp_path):
    path = small(tmp_path, pissa_init=True, use_rslora=True, lora_rank=4, lora_alpha=6)
    train(path)
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (config["r"], config["use_rslora"], config["lora_alpha"]) == (8, False, 24)
    assert config["init_lora_weights"] is True
    spec = read_spec(tmp_path / "out")
    assert (spec.rank, spec.alpha, spec.rslora, spec.pissa) == (4, 6, True, 16)


def test_a_bf16_base_is_not_rounded_anew_by_pissa(tmp_path):
    """What is trained is what is served: PEFT over the untouched base says the same."""
    path = small(tmp_path, pissa_init=True, bf16=True)
    train(path)
    run = load(path)
    ours = answering.load(run, answering.find(run, Silent()))
    base = load_model(tmp_path / "model", dtype=torch.bfloat16)
    for name, parameter in base.named_parameters():
        assert torch.equal(ours.get_parameter(name), parameter), name
    with adapters.disabled(ours):
        assert torch.equal(logits(ours), logits(base))


def test_another_kind_than_the_one_to_go_on_with_is_refused(tmp_path):
    path = small(tmp_path)
    train(path)
    for key in ("use_dora", "pissa_init", "use_rslora"):
        with pytest.raises(ConfigError, match=key):
            gather(load(path, {"adapter_name_or_path": str(tmp_path / "out"), key: True}), Silent())


def test_what_no_layer_can_bear_is_refused_before_weights_are_read(tmp_path):
    run = load(small(tmp_path, pissa_init=True, lora_rank=65))
    with pytest.raises(ModelError, match="lora_rank") as caught:
        gather(run, Silent())
    assert "singular values" in caught.value.need


def test_a_header_that_belongs_to_another_config_is_refused(tmp_path):
    path = small(tmp_path, pissa_init=True)
    train(path)
    config = tmp_path / "out" / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"lora_alpha": 5}))
    with pytest.raises(ModelError, match="tunesmith_pissa"):
        read_spec(tmp_path / "out")


def test_without_its_header_a_file_of_pissa_is_an_adapter_of_twice_the_rank(tmp_path):
    from safetensors.torch import save_file

    path = small(tmp_path, pissa_init=True)
    train(path)
    said = answers(path)
    file = tmp_path / "out" / "adapter_model.safetensors"
    save_file(load_file(file), file, metadata={"format": "pt"})
    assert read_spec(tmp_path / "out").rank == 8
    torch.testing.assert_close(answers(path), said, **NEAR)
