"""Saved and restored, an optimizer goes on as if nothing had been."""

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from tunesmith.config.optimizers import OPTIMIZERS
from tunesmith.errors import TrainError
from tunesmith.training.optim import ALIASES, optimizer_for
from tunesmith.training.optimizer_state import optimizer_tensors, restore_optimizer

KINDS = {
    "adamw plain": lambda p: torch.optim.AdamW(p, lr=0.01, foreach=False),
    "adamw foreach": lambda p: torch.optim.AdamW(p, lr=0.01, foreach=True),
    "adamw fused": lambda p: torch.optim.AdamW(p, lr=0.01, fused=True),
    "adamw amsgrad": lambda p: torch.optim.AdamW(p, lr=0.01, amsgrad=True),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.01),
    "sgd momentum": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.01),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
    "adafactor": lambda p: torch.optim.Adafactor(p, lr=0.01),
    "nadam": lambda p: torch.optim.NAdam(p, lr=0.01),
    "radam": lambda p: torch.optim.RAdam(p, lr=0.01),
}


def _model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.LayerNorm(7), nn.Linear(7, 3, bias=False))


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, number: int) -> None:
    generator = torch.Generator().manual_seed(number)
    model(torch.randn(11, 5, generator=generator)).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def _same_after_resuming(make, steps: int = 6) -> None:
    """A copy that resumes at each step is bit-equal to the original at the end."""
    straight = _model()
    optimizer = make(straight)
    saved = []
    for number in range(steps):
        tensors = optimizer_tensors(optimizer, dict(straight.named_parameters()))
        saved.append((save(tensors), {k: v.clone() for k, v in straight.state_dict().items()}))
        _step(straight, optimizer, number)
    for start, (data, weights) in enumerate(saved):
        resumed = _model()
        resumed.load_state_dict(weights)
        again = make(resumed)
        restore_optimizer(again, dict(resumed.named_parameters()), load(data))
        for number in range(start, steps):
            _step(resumed, again, number)
        for name, value in resumed.state_dict().items():
            assert torch.equal(value, straight.state_dict()[name]), (start, name)
        end = optimizer_tensors(again, dict(resumed.named_parameters()))
        for key, value in optimizer_tensors(optimizer, dict(straight.named_parameters())).items():
            assert torch.equal(value, end[key]), (start, key)
            assert value.dtype == end[key].dtype, (start, key)


@pytest.mark.parametrize("kind", KINDS)
def test_resumed_at_any_step_the_parameters_are_bit_identical(kind):
    _same_after_resuming(lambda model: KINDS[kind](model.parameters()))


@pytest.mark.parametrize("name", sorted(ALIASES))
def test_every_optimizer_of_a_run_file_resumes_bit_identically(name):
    """Also where its state is in 8 bits, and where another one has the rows of tokens."""
    eight = "min_8bit_size" in OPTIMIZERS[ALIASES[name]].args
    _same_after_resuming(
        lambda model: optimizer_for(
            name,
            dict(model.named_parameters()),
            learning_rate=0.01,
            weight_decay=0.1,
            args={"min_8bit_size": 1} if eight else {},
            by_token={"2.weight"},
        )
    )


def test_the_blocks_of_an_8_bit_state_have_the_size_of_the_real_parameter():
    """300 elements are two blocks of 256, where a tiny parameter would have one."""

    def make(model):
        named = dict(model.named_parameters())
        return optimizer_for("adamw_8bit", named, learning_rate=0.01, args={"min_8bit_size": 1})

    model, again = nn.Linear(60, 5, bias=False), nn.Linear(60, 5, bias=False)
    model.weight.grad = torch.ones(5, 60)
    optimizer, fresh = make(model), make(again)
    optimizer.step()
    saved = load(save(optimizer_tensors(optimizer, dict(model.named_parameters()))))
    assert saved["weight.absmax1"].shape == (2,)
    assert "weight.qmap1" not in saved, "a table that is always the same"
    restore_optimizer(fresh, dict(again.named_parameters()), saved)
    assert torch.equal(fresh.state[again.weight]["qmap2"], optimizer.state[model.weight]["qmap2"])
    wrong = {**saved, "weight.absmax1": torch.zeros(3)}
    with pytest.raises(TrainError, match="absmax1"):
        restore_optimizer(make(again), dict(again.named_parameters()), wrong)


def test_without_the_state_the_parameters_differ():
    straight, resumed = _model(), _model()
    optimizer = KINDS["adamw plain"](straight.parameters())
    for number in range(3):
        _step(straight, optimizer, number)
    resumed.load_state_dict(straight.state_dict())
    _step(straight, optimizer, 3)
    _step(resumed, KINDS["adamw plain"](resumed.parameters()), 3)
    assert not torch.equal(straight[0].weight, resumed[0].weight)


def test_a_parameter_without_gradient_is_remembered_as_untouched():
    model = _model()
    names = dict(model.named_parameters())
    optimizer = KINDS["adamw plain"](model.parameters())
    model[0](torch.ones(1, 5)).sum().backward()
    optimizer.step()
    tensors = optimizer_tensors(optimizer, names)
    assert "2.weight.:untouched" in tensors
    assert "0.weight.exp_avg" in tensors
    fresh = KINDS["adamw plain"](model.parameters())
    restore_optimizer(fresh, names, load(save(tensors)))
    assert optimizer_tensors(fresh, names).keys() == tensors.keys()


def _saved() -> tuple[nn.Module, dict[str, torch.Tensor]]:
    model = _model()
    optimizer = KINDS["adamw plain"](model.parameters())
    _step(model, optimizer, 0)
    tensors = optimizer_tensors(optimizer, dict(model.named_parameters()))
    return model, {key: value.clone() for key, value in tensors.items()}


def _refused(model: nn.Module, tensors, kind: str = "adamw plain") -> TrainError:
    optimizer = KINDS[kind](model.parameters())
    names = dict(model.named_parameters())
    before = {key: value.clone() for key, value in optimizer_tensors(optimizer, names).items()}
    with pytest.raises(TrainError) as caught:
        restore_optimizer(optimizer, names, tensors)
    after = optimizer_tensors(optimizer, names)
    assert before.keys() == after.keys(), "nothing is restored by halves"
    assert all(torch.equal(before[key], after[key]) for key in after)
    return caught.value


@pytest.mark.parametrize("component", ["exp_avg", "exp_avg_sq", "step"])
def test_a_missing_component_is_named(component):
    model, tensors = _saved()
    del tensors[f"2.weight.{component}"]
    assert _refused(model, tensors).where == f"optimizer state: 2.weight.{component}"


def test_an_unknown_component_is_named():
    model, tensors = _saved()
    tensors["0.weight.max_exp_avg_sq"] = torch.zeros(7, 5)
    assert _refused(model, tensors).where == "optimizer state: 0.weight.max_exp_avg_sq"


def test_the_state_of_a_parameter_that_is_not_trained_any_more_is_named():
    model, tensors = _saved()
    tensors["9.weight.exp_avg"] = torch.zeros(1)
    assert "9.weight.exp_avg" in _refused(model, tensors).where


def test_the_state_of_another_optimizer_is_refused():
    model, tensors = _saved()
    assert _refused(model, tensors, "adagrad").got == "missing"


@pytest.mark.parametrize("wrong", [torch.zeros(5, 7), torch.zeros(7, 5, dtype=torch.float64)])
def test_another_shape_or_dtype_is_refused(wrong):
    model, tensors = _saved()
    tensors["0.weight.exp_avg"] = wrong
    assert _refused(model, tensors).need == "(7, 5) torch.float32"


def test_every_parameter_needs_a_name_and_every_name_a_parameter():
    model, _ = _saved()
    names = dict(model.named_parameters())
    optimizer = KINDS["sgd"](model.parameters())
    with pytest.raises(TrainError, match="group 0, parameter 0"):
        optimizer_tensors(optimizer, {k: v for k, v in names.items() if k != "0.weight"})
    with pytest.raises(TrainError, match="stranger"):
        optimizer_tensors(optimizer, {**names, "stranger": nn.Parameter(torch.zeros(1))})


def test_bf16_parameters_keep_their_state_bit_for_bit():
    model = _model().to(torch.bfloat16)
    names, optimizer = dict(model.named_parameters()), KINDS["adamw plain"](model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 0.3)
    optimizer.step()
    fresh = KINDS["adamw plain"](model.parameters())
    restore_optimizer(fresh, names, load(save(optimizer_tensors(optimizer, names))))
    for key, value in optimizer_tensors(optimizer, names).items():
        assert torch.equal(value, optimizer_tensors(fresh, names)[key])


def test_a_restored_optimizer_does_not_write_into_the_saved_tensors():
    model, tensors = _saved()
    before = {key: value.clone() for key, value in tensors.items()}
    optimizer = KINDS["adamw plain"](model.parameters())
    restore_optimizer(optimizer, dict(model.named_parameters()), tensors)
    _step(model, optimizer, 1)
    assert all(torch.equal(before[key], tensors[key]) for key in tensors)


@pytest.mark.gpu
def test_a_paged_state_is_paged_again_after_a_restore():
    def made():
        parameter = nn.Parameter(torch.ones(1000, 200, device="cuda"))
        named = {"w": parameter}
        return named, optimizer_for("paged_adamw_8bit", named, learning_rate=0.01)

    named, optimizer = made()
    named["w"].grad = torch.ones_like(named["w"])
    optimizer.step()
    saved = load(save({k: v.cpu() for k, v in optimizer_tensors(optimizer, named).items()}))
    again, fresh = made()
    restore_optimizer(fresh, again, saved)
    assert fresh.state[again["w"]]["state1"].is_paged
    end = optimizer_tensors(fresh, again)
    assert all(torch.equal(value.cpu(), end[key].cpu()) for key, value in saved.items())
