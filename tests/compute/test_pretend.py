"""Pretended tensors: code runs, nothing is computed, every byte is counted once."""

import pytest
import torch

from tunesmith.compute import attention
from tunesmith.compute.pretend import pretended, pretending, put_on


def test_a_storage_counts_once_and_as_long_as_it_lives():
    with pretending() as counter:
        x = torch.empty(1000, 4)
        view = x.t()
        assert counter.live == 16000
        y = x + view.t()
        assert counter.live == 32000
        del x
        assert counter.live == 32000  # the view holds it
        del view, y
        assert (counter.live, counter.peak) == (0, 32000)


def test_a_terabyte_takes_no_memory():
    with pretending() as counter:
        big = torch.empty(1 << 19, 1 << 19)
        (big @ big).relu_()
    assert counter.peak == 2 << 40


def test_small_real_numbers_stay_readable():
    with pretending():
        ends = attention.documents((0, 3, 7))
        assert ends.flatten().tolist() == [0, 3, 7]
        assert torch.tensor(2.0).item() == 2


def test_weights_are_put_on_once_though_two_modules_have_them():
    with torch.device("meta"):
        a, b = torch.nn.Linear(8, 8, bias=False), torch.nn.Linear(8, 8, bias=True)
    a.weight.requires_grad_(False)
    b.weight = a.weight
    model = torch.nn.ModuleList([a, b])
    with pretending() as counter:
        put_on(model, "cpu", torch.bfloat16)
        assert counter.live == 64 * 2 + 8 * 4  # frozen in bf16, trained in fp32
        assert model[0].weight is model[1].weight
    assert pretended(model)
    assert not pretended(torch.nn.Linear(1, 1))


def test_what_is_kept_by_key_does_not_meet_a_real_run():
    cpu = torch.device("cpu")
    with pretending():
        attention.causal_mask(5, None, cpu)
    assert attention.causal_mask(5, None, cpu).tolist()[0] == [True, False, False, False, False]


def test_after_an_error_tensors_are_real_again():
    with pytest.raises(ValueError, match="mine"), pretending():
        raise ValueError("mine")
    assert torch.ones(2).sum().item() == 2


def test_what_cannot_be_pretended_is_raised_and_not_printed_as_well(capfd, caplog):
    with pytest.raises(RuntimeError), pretending():  # ends are whole numbers
        torch._grouped_mm(
            torch.empty(8, 16, dtype=torch.bfloat16),
            torch.empty(2, 16, 16, dtype=torch.bfloat16),
            offs=torch.empty(2),
        )
    assert "Traceback" not in capfd.readouterr().err
    assert not caplog.records


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_products_of_experts_have_the_shapes_and_gradients_of_real_ones(dtype):
    def product():
        rows = torch.ones(8, 16, dtype=dtype, requires_grad=True)
        weights = torch.ones(2, 16, 24, dtype=dtype, requires_grad=True)
        out = torch._grouped_mm(rows, weights, offs=torch.tensor([3, 8], dtype=torch.int32))
        (2 * out).sum().backward()
        return [(t.shape, t.dtype) for t in (out, rows.grad, weights.grad)]

    want = product()
    with pretending():
        assert product() == want
