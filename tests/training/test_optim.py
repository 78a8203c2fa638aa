"""Each parameter is in one group, each update is the formula of its paper, nothing is ignored."""

import sys

import pytest
import torch

from tunesmith.config.optimizers import OPTIMIZERS, SHORT
from tunesmith.errors import ConfigError
from tunesmith.training.optim import ALIASES, Several, check, optimizer_for

RATE, DECAY, BETAS, EPSILON = 0.01, 0.1, (0.8, 0.95), 1e-6


def parameters():
    shapes = {"x.lora_A": (2, 3), "x.lora_B": (3, 2), "norm.weight": (3,)}
    return {name: torch.nn.Parameter(torch.ones(shape)) for name, shape in shapes.items()}


def made(name, named, **args):
    by_token = args.pop("by_token", ())
    return optimizer_for(
        name, named, learning_rate=RATE, weight_decay=DECAY, betas=BETAS, epsilon=EPSILON,
        args=args, by_token=by_token,
    )  # fmt: skip


@pytest.mark.parametrize("name", sorted(ALIASES))
def test_every_name_moves_every_parameter_once(name):
    named = parameters()
    optimizer = optimizer_for(name, named, learning_rate=0.1)
    grouped = [p for group in optimizer.param_groups for p in group["params"]]
    assert sorted(map(id, grouped)) == sorted(map(id, named.values()))
    for p in named.values():
        p.grad = torch.ones_like(p)
    optimizer.step()
    assert all((p != 1).all() for p in named.values())


@pytest.mark.parametrize("name", sorted(ALIASES))
def test_the_rate_that_the_loop_sets_is_the_one_that_counts(name):
    named = parameters()
    optimizer = optimizer_for(name, named, learning_rate=0.1, weight_decay=0.3)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    for p in named.values():
        p.grad = torch.ones_like(p)
    optimizer.step()
    assert all((p == 1).all() for p in named.values())


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_only_matrices_decay(name):
    optimizer = optimizer_for(name, parameters(), learning_rate=0.1, weight_decay=0.3)
    decay = {p.ndim: g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert decay == {2: 0.3, 1: 0.0}


def test_lora_plus_scales_the_rate_of_every_b_alone():
    named = parameters()
    optimizer = optimizer_for("adamw", named, learning_rate=0.1, loraplus_lr_ratio=16)
    scales = {id(p): g["lr_scale"] for g in optimizer.param_groups for p in g["params"]}
    assert {name: scales[id(p)] for name, p in named.items()} == {
        "x.lora_A": 1.0, "x.lora_B": 16, "norm.weight": 1.0,
    }  # fmt: skip


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(ConfigError, match="optim"):
        optimizer_for("adamx", parameters(), learning_rate=0.1)


# The update rules in fp64: (parameter, gradient, state, step, settings) -> parameter.


def adamw(p, g, s, t, a):
    m = s["m"] = BETAS[0] * s.get("m", 0) + (1 - BETAS[0]) * g
    v = s["v"] = BETAS[1] * s.get("v", 0) + (1 - BETAS[1]) * g * g
    if a.get("amsgrad"):
        v = s["max"] = torch.maximum(s.get("max", torch.zeros_like(v)), v)
    first, second = m / (1 - BETAS[0] ** t), v / (1 - BETAS[1] ** t)
    return p - RATE * DECAY * p - RATE * first / (second.sqrt() + EPSILON)


def sgd(p, g, s, t, a):
    g = g + DECAY * p
    if momentum := a.get("momentum", 0.0):
        s["b"] = g if t == 1 else momentum * s["b"] + (1 - a.get("dampening", 0.0)) * g
        g = g + momentum * s["b"] if a.get("nesterov") else s["b"]
    return p - RATE * g


def adagrad(p, g, s, t, a):
    g = g + DECAY * p
    s["sum"] = s.get("sum", a.get("initial_accumulator_value", 0.0)) + g * g
    rate = RATE / (1 + (t - 1) * a.get("lr_decay", 0.0))
    return p - rate * g / (s["sum"].sqrt() + a.get("eps", 1e-10))


def rmsprop(p, g, s, t, a):
    alpha, g = a.get("alpha", 0.99), g + DECAY * p
    v = s["v"] = alpha * s.get("v", 0) + (1 - alpha) * g * g
    if a.get("centered"):
        mean = s["mean"] = alpha * s.get("mean", 0) + (1 - alpha) * g
        v = v - mean * mean
    s["b"] = a.get("momentum", 0.0) * s.get("b", 0) + g / (v.sqrt() + a.get("eps", 1e-8))
    return p - RATE * s["b"]


def adafactor(p, g, s, t, a):
    """arXiv:1804.04235, algorithm 4, with the rate given from outside."""
    beta, square = 1 - t ** a.get("decay_rate", -0.8), g * g + 1e-30
    row = s["row"] = beta * s.get("row", 0) + (1 - beta) * square.mean(1, keepdim=True)
    column = s["column"] = beta * s.get("column", 0) + (1 - beta) * square.mean(0, keepdim=True)
    update = g / (row @ column / row.mean()).sqrt()
    root = update.square().mean().sqrt()
    update = update / torch.clamp(root / a.get("clip_threshold", 1.0), min=1.0)
    rate = RATE * (p.square().mean().sqrt().clamp(min=1e-3) if a.get("scale_parameter") else 1)
    update = rate * update
    if (first := a.get("beta1")) is not None:
        update = s["m"] = first * s.get("m", 0) + (1 - first) * update
    return p - rate * DECAY * p - update


def lion(p, g, s, t, a):
    """arXiv:2302.06675, algorithm 2."""
    sign = (BETAS[0] * s.get("m", 0) + (1 - BETAS[0]) * g).sign()
    s["m"] = BETAS[1] * s.get("m", 0) + (1 - BETAS[1]) * g
    return p - RATE * (sign + DECAY * p)


def ademamix(p, g, s, t, a):
    """arXiv:2409.03137, algorithm 1, without schedules."""
    slow, alpha = a.get("beta3", 0.9999), a.get("alpha", 5.0)
    m = s["m"] = BETAS[0] * s.get("m", 0) + (1 - BETAS[0]) * g
    long = s["long"] = slow * s.get("long", 0) + (1 - slow) * g
    v = s["v"] = BETAS[1] * s.get("v", 0) + (1 - BETAS[1]) * g * g
    first, second = m / (1 - BETAS[0] ** t), v / (1 - BETAS[1] ** t)
    return p - RATE * ((first + alpha * long) / (second.sqrt() + EPSILON) + DECAY * p)


RULES = [
    ("adamw_torch", adamw, {}),
    ("adamw_torch", adamw, {"amsgrad": True}),
    ("adamw_torch_fused", adamw, {}),
    ("paged_adamw_32bit", adamw, {}),
    ("adamw_bnb_8bit", adamw, {}),  # a small matrix has its state in fp32
    ("paged_adamw_8bit", adamw, {}),
    ("sgd", sgd, {}),
    ("sgd", sgd, {"momentum": 0.9, "nesterov": True}),
    ("sgd", sgd, {"momentum": 0.9, "dampening": 0.2}),
    ("adagrad", adagrad, {}),
    ("adagrad", adagrad, {"lr_decay": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-3}),
    ("rmsprop", rmsprop, {}),
    ("rmsprop", rmsprop, {"alpha": 0.9, "momentum": 0.5, "centered": True, "eps": 1e-3}),
    ("rmsprop_bnb_32bit", rmsprop, {"alpha": 0.9, "eps": 1e-3}),
    ("rmsprop_bnb_8bit", rmsprop, {}),
    ("adafactor", adafactor, {}),
    ("adafactor", adafactor, {"clip_threshold": 0.3, "decay_rate": -0.5, "beta1": 0.7}),
    ("adafactor", adafactor, {"scale_parameter": True}),
    ("lion_32bit", lion, {}),
    ("lion_8bit", lion, {}),
    ("paged_lion_32bit", lion, {}),
    ("paged_lion_8bit", lion, {}),
    ("ademamix", ademamix, {}),
    ("ademamix", ademamix, {"beta3": 0.99, "alpha": 2.0}),
    ("ademamix_8bit", ademamix, {}),
    ("paged_ademamix_32bit", ademamix, {}),
    ("paged_ademamix_8bit", ademamix, {}),
]


@pytest.mark.parametrize(("name", "rule", "args"), RULES)
def test_the_update_is_the_formula_of_the_paper(name, rule, args):
    generator = torch.Generator().manual_seed(3)
    start = torch.randn(4, 5, generator=generator)
    parameter, expected = torch.nn.Parameter(start.clone()), start.double()
    optimizer, state = made(name, {"w": parameter}, **args), {}
    for step in range(1, 6):
        gradient = torch.randn(4, 5, generator=generator)
        parameter.grad = gradient.clone()
        optimizer.step()
        expected = rule(expected, gradient.double(), state, step, args)
        torch.testing.assert_close(parameter.detach().double(), expected, rtol=2e-5, atol=1e-6)


def test_every_optimizer_but_muon_has_its_formula():
    assert {name for name, _, _ in RULES} == set(OPTIMIZERS) - {"muon"}


@pytest.mark.parametrize("name", [n for n, o in OPTIMIZERS.items() if "min_8bit_size" in o.args])
def test_in_eight_bits_the_state_is_small_and_the_update_starts_as_in_fp32(name):
    exact = next(rule for other, rule, _ in RULES if other == name)
    generator = torch.Generator().manual_seed(3)
    start, gradient = (torch.randn(40, 130, generator=generator) for _ in range(2))
    parameter, state = torch.nn.Parameter(start.clone()), {}
    optimizer = made(name, {"w": parameter}, min_8bit_size=1)
    parameter.grad = gradient.clone()
    optimizer.step()
    expected = exact(start.double(), gradient.double(), state, 1, {})
    torch.testing.assert_close(parameter.detach().double(), expected, rtol=2e-5, atol=1e-6)
    kept = [v for k, v in optimizer.state[parameter].items() if k.startswith("state")]
    assert all(v.dtype == torch.uint8 for v in kept)


def orthogonal(g):
    """Five Newton-Schulz steps of https://kellerjordan.github.io/posts/muon/, in fp64."""
    x = g / g.norm()
    x = x.T if len(g) > len(g.T) else x
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.T if len(g) > len(g.T) else x


@pytest.mark.parametrize("shape", [(6, 9), (9, 6)])
def test_muon_orthogonalises_the_momentum_of_a_matrix(shape):
    generator = torch.Generator().manual_seed(3)
    start = torch.randn(shape, generator=generator)
    parameter, momentum = torch.nn.Parameter(start.clone()), torch.zeros(shape).double()
    optimizer = made("muon", {"w": parameter})
    for _ in range(3):
        before, gradient = parameter.detach().double(), torch.randn(shape, generator=generator)
        parameter.grad = gradient.clone()
        optimizer.step()
        momentum = 0.95 * momentum + 0.05 * gradient.double()
        looked_ahead = 0.95 * momentum + 0.05 * gradient.double()
        update = before * (1 - RATE * DECAY) - parameter.detach().double()
        expected = RATE * 0.2 * max(shape) ** 0.5 * orthogonal(looked_ahead)
        assert (update - expected).norm() < 0.05 * expected.norm()  # torch iterates in bf16


def test_muon_leaves_vectors_embeddings_and_new_rows_to_adamw():
    named = {**parameters(), "embed.weight": torch.nn.Parameter(torch.ones(5, 2))}
    named["head.token_rows"] = torch.nn.Parameter(torch.ones(2, 2))
    start = {name: p.detach().clone() for name, p in named.items()}
    optimizer = made("muon", named, by_token={"embed.weight"})
    assert isinstance(optimizer, Several)
    kinds = {
        id(p): type(part).__name__
        for part in optimizer.parts for group in part.param_groups for p in group["params"]
    }  # fmt: skip
    assert {name: kinds[id(p)] for name, p in named.items()} == {
        "x.lora_A": "Muon", "x.lora_B": "Muon", "norm.weight": "AdamW",
        "embed.weight": "AdamW", "head.token_rows": "AdamW",
    }  # fmt: skip
    for p in named.values():
        p.grad = torch.full_like(p, 0.5)
    optimizer.step()
    rule = adamw(start["embed.weight"].double(), torch.full((5, 2), 0.5).double(), {}, 1, {})
    torch.testing.assert_close(named["embed.weight"].detach().double(), rule, rtol=1e-5, atol=1e-7)


def test_rows_of_tokens_keep_their_state_in_fp32():
    named = {n: torch.nn.Parameter(torch.ones(64, 128)) for n in ("embed.weight", "up.weight")}
    optimizer = made("adamw_8bit", named, by_token={"embed.weight"})
    for p in named.values():
        p.grad = torch.ones_like(p)
    optimizer.step()
    kinds = {n: optimizer.state[p].get("state1", p).dtype for n, p in named.items()}
    assert kinds == {"embed.weight": torch.float32, "up.weight": torch.uint8}


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_every_setting_that_is_listed_changes_the_update(name):
    """What an optimizer takes and does not use would be ignored without a word."""
    values = {
        "amsgrad": True, "momentum": 0.5, "dampening": 0.3, "nesterov": True, "lr_decay": 0.5,
        "initial_accumulator_value": 2.0, "eps": 0.1, "alpha": 0.5, "centered": True,
        "clip_threshold": 0.1, "decay_rate": -0.3, "beta1": 0.5, "scale_parameter": True,
        "beta3": 0.5, "t_alpha": 3, "t_beta3": 3, "min_8bit_size": 1, "ns_steps": 1,
        "adjust_lr_fn": "original",
    }  # fmt: skip
    for key in OPTIMIZERS[name].args:
        with_it = {"momentum": 0.9} if name == "sgd" and key != "momentum" else {}
        args = {
            **with_it,
            key: not with_it if key == "nesterov" and name == "muon" else values[key],
        }
        args = {**args, "nesterov": False} if (name, key) == ("muon", "nesterov") else args
        assert not torch.equal(_after(name, with_it), _after(name, args)), key
    for key, at in {"adam_beta1": 0, "adam_beta2": 1, "adam_epsilon": 2}.items():
        same = torch.equal(_after(name, {}), _after(name, {}, changed=at))
        assert same == (key not in OPTIMIZERS[name].uses or name == "muon"), key


def _after(name, args, changed=None):
    generator = torch.Generator().manual_seed(5)
    parameter = torch.nn.Parameter(torch.randn(17, 40, generator=generator))
    numbers = [0.9, 0.95, 1e-3]
    if changed is not None:
        numbers[changed] *= 0.5
    optimizer = optimizer_for(
        name, {"w": parameter}, learning_rate=0.1, betas=(numbers[0], numbers[1]),
        epsilon=numbers[2], args=args,
    )  # fmt: skip
    for _ in range(4):
        parameter.grad = torch.randn(17, 40, generator=generator)
        optimizer.step()
    return parameter.detach()


@pytest.mark.parametrize(
    ("name", "args", "got"),
    [
        ("sgd", {"momentun": 0.9}, "momentun"),
        ("sgd", {"momentum": "much"}, "momentum=much"),
        ("sgd", {"nesterov": 1}, "nesterov=1"),
        ("sgd", {"nesterov": True}, "nesterov=True"),
        ("adafactor", {"relative_step": True}, "relative_step"),
        ("muon", {"adjust_lr_fn": "other"}, "adjust_lr_fn=other"),
        ("adamw", {"weight_decay": 0.1}, "weight_decay"),
        ("lion_8bit", {"min_8bit_size": 0.5}, "min_8bit_size=0.5"),
    ],
)
def test_a_setting_that_an_optimizer_does_not_take_is_refused(name, args, got):
    with pytest.raises(ConfigError, match="optim_args") as caught:
        check(name, args, paged=True)
    assert caught.value.got == got


def test_without_bitsandbytes_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    for name in (*OPTIMIZERS, *SHORT):
        if OPTIMIZERS[ALIASES[name]].extra:
            with pytest.raises(ConfigError, match="optim") as caught:
                check(name, {}, paged=True)
            assert "tunesmith[bnb]" in caught.value.hint
        else:
            assert check(name, {}, paged=True) == ()


def test_paged_states_are_told_to_stay_where_there_is_no_gpu():
    assert "CUDA only" in check("paged_adamw_8bit", {}, paged=False)[0]
    assert check("adamw_8bit", {}, paged=False) == ()
