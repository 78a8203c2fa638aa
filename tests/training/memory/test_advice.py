"""Not enough memory is one error: what is fullest, and what would help by how much."""

import pytest
import torch

from tiny_run import tiny_run
from tunesmith.config.load import load
from tunesmith.errors import ConfigError, TrainError
from tunesmith.training.material import gather
from tunesmith.training.memory import advice
from tunesmith.training.memory.advice import Remedy, explained, refuse
from tunesmith.training.memory.estimate import needs
from tunesmith.training.memory.solve import Layout
from tunesmith.training.report import Silent

GIB = 1 << 30
PARTS = {"process": GIB // 2, "weights": GIB, "activations": 10 * GIB}
LAYOUT = Layout(2048, 30, 11 * GIB + GIB // 2, 8 * GIB, PARTS, "head")
SHORTER, RANK = Remedy("cutoff_len: 1024", 5 * GIB), Remedy("lora_rank: 4", GIB)


def test_an_allocation_that_fails_names_the_fullest_part_and_two_remedies():
    with pytest.raises(TrainError) as caught, explained(LAYOUT, lambda: [SHORTER, RANK]):
        torch.empty(1 << 60, dtype=torch.uint8)
    assert "activations 10.0 GiB" in caught.value.need
    assert "8.0 GiB were free" in caught.value.need
    assert caught.value.hint == (
        "cutoff_len: 1024 (saves 5.0 GiB); lora_rank: 4 (saves 1.0 GiB): alone that is not enough"
    )


def test_only_what_suffices_alone_is_said_to():
    little = RANK._replace(change="bf16: true")
    for found, said in (
        (
            [SHORTER, SHORTER],
            "cutoff_len: 1024 (saves 5.0 GiB), or cutoff_len: 1024 (saves 5.0 GiB)",
        ),
        (
            [RANK, little],
            "lora_rank: 4 (saves 1.0 GiB) and bf16: true (saves 1.0 GiB): alone neither is enough",
        ),
        ([], "a smaller model, or a larger device"),
    ):
        with pytest.raises(ConfigError) as caught:
            refuse(str, lambda found=found: found, LAYOUT, longest=2048, device="cuda")
        assert caught.value.hint == said


def test_other_errors_are_left_alone():
    with pytest.raises(RuntimeError, match="mine"), explained(LAYOUT, list):
        raise RuntimeError("mine")


def test_what_exceeds_everything_by_more_than_the_estimates_error_is_refused():
    swapless = LAYOUT._replace(free=8 * GIB)
    with pytest.raises(ConfigError) as caught:
        refuse(str, lambda: [SHORTER], swapless, longest=2048, device="cuda")
    assert str(caught.value.got) == (
        "11.5 GiB for the longest example alone (2,048 tokens); activations 10.0 GiB is the "
        "largest part"
    )
    assert caught.value.need == "at most 8.0 GiB, which are free"
    assert caught.value.where == "cutoff_len"
    near = LAYOUT._replace(free=LAYOUT.needed * 10 // 11 + 1)
    refuse(str, lambda: [], near, longest=2048, device="cuda")
    for part, key in (("weights", "model_name_or_path"), ("optimizer", "finetuning_type")):
        mostly = swapless._replace(components={**PARTS, part: 20 * GIB})
        with pytest.raises(ConfigError, match=key):
            refuse(str, lambda: [], mostly, longest=2048, device="cuda")


def remedies(tmp_path, *, needed=1.0, **keys):
    run = load(tiny_run(tmp_path, **keys))
    material = gather(run, Silent())
    estimate = needs(run, material)
    small = estimate._replace(fixed=estimate.fixed._replace(process=0))
    tokens = int(material.data.train.lengths.max())
    found = small.need(tokens, 0)
    layout = Layout(tokens, 0, found.total, int(needed * found.total), found.components, "head")
    return {r.change: r.saves for r in advice.remedies(run, material, small, layout)}, found.total


@pytest.mark.parametrize("finetuning_type", ["lora", "full"])
def test_a_remedy_saves_what_the_plan_with_it_says(tmp_path, finetuning_type):
    """The largest part stays the process, which is left out on both sides."""
    rank = 4 if finetuning_type == "lora" else None
    rows = [{"instruction": "red green blue " * n, "output": "red"} for n in (90, 40, 10, 5)]
    model = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 4}
    keys = {"rows": rows, "model": model, "finetuning_type": finetuning_type, "lora_rank": rank,
            "cutoff_len": 512}  # fmt: skip
    found, total = remedies(tmp_path, needed=0.6, **keys)
    assert len(found) >= 3

    def really(**change):
        run = load(tiny_run(tmp_path, **{**keys, **change}))
        material = gather(run, Silent())
        estimate = needs(run, material)
        small = estimate._replace(fixed=estimate.fixed._replace(process=0))
        lengths = material.data.train.lengths
        if "cutoff_len" not in change:
            return small.need(int(lengths.max()), 0).total
        return small.layout(
            longest=int(lengths.max()), step_tokens=int(lengths.sum()), may_recompute=True,
            free=int(0.6 * total),
        ).needed  # fmt: skip

    shorter = next(name for name in found if name.startswith("cutoff_len"))
    said = {"bf16: true": {"bf16": True}, shorter: {"cutoff_len": int(shorter.split()[1])},
            "optim: adamw_8bit": {"optim": "adamw_8bit"}}  # fmt: skip
    for change in said.keys() & found.keys():
        assert total - found[change] == pytest.approx(really(**said[change]), rel=0.1), change


def test_a_shorter_cutoff_is_no_remedy_where_the_plan_would_fill_the_room_again(tmp_path):
    assert any(name.startswith("cutoff_len") for name in remedies(tmp_path, needed=0.7)[0])
    assert not any(name.startswith("cutoff_len") for name in remedies(tmp_path, needed=9)[0])


def test_a_gpu_without_bf16_is_told_of_fp16(tmp_path):
    run = load(tiny_run(tmp_path))
    for device, key in (("t4", "fp16"), ("4090", "bf16")):
        assert advice._half(gather(run, Silent(), device=device))[0] == key


def test_pissa_is_not_told_of_four_bits(tmp_path):
    wide = {"hidden_size": 256, "intermediate_size": 1024}
    assert "quantization_bit: 4" in remedies(tmp_path, model=wide)[0]
    assert "quantization_bit: 4" not in remedies(tmp_path, model=wide, pissa_init=True)[0]


def test_a_plan_that_may_not_fit_says_what_would_help():
    assert advice.note([SHORTER], LAYOUT).endswith("be killed; cutoff_len: 1024 (saves 5.0 GiB)")


def test_a_batch_size_is_never_a_remedy_and_none_is_worthless(tmp_path):
    found, total = remedies(tmp_path, per_device_train_batch_size=8)
    assert found
    assert not any("batch" in name for name in found)
    assert all(saves > 0.03 * total for saves in found.values())


def test_full_training_is_told_of_adapters_and_small_optimizer_states(tmp_path):
    found, _ = remedies(tmp_path, finetuning_type="full", lora_rank=None)
    assert {"finetuning_type: lora", "optim: adamw_8bit"} <= set(found)
    assert not any("rank" in name or "quantization" in name for name in found)


def test_recomputation_is_a_remedy_only_where_it_is_forbidden(tmp_path):
    assert "disable_gradient_checkpointing: false" not in remedies(tmp_path)[0]
    forbidden, _ = remedies(tmp_path, disable_gradient_checkpointing=True)
    assert forbidden["disable_gradient_checkpointing: false"] > 0


def test_what_suffices_stands_first(tmp_path):
    found, total = remedies(tmp_path, needed=0.7)
    enough = [total - saves <= 0.7 * total for saves in found.values()]
    assert enough == sorted(enough, reverse=True)
    assert enough[0]
