"""The table of GPUs: consistent with itself, and found by what people call them."""

import pytest
import torch

from tunesmith.errors import ConfigError
from tunesmith.training import devices
from tunesmith.training.devices import DEVICES, find, names


@pytest.mark.parametrize(
    ("said", "name"),
    [("H200", "h200"), ("a100", "a100-80"), ("A100-80GB", "a100-80"), ("RTX 4090", "4090"),
     ("rtx_4090", "4090"), ("v100", "v100-32"), ("rtx-6000-ada", "rtx6000-ada"),
     ("rtx 6000 ada", "rtx6000-ada"), ("h100-80", "h100"), ("H100_80GB", "h100"), ("a10", "a10"),
     ("v100 16gb", "v100-16"), ("T4 16 GiB", "t4"), ("a6000", "a6000"), ("L40S", "l40s")],
)  # fmt: skip
def test_a_device_is_found_by_its_names(said, name):
    found = find(said)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize(
    ("said", "name"),
    [("NVIDIA H200", "h200"), ("NVIDIA H100 80GB HBM3", "h100"), ("NVIDIA H100 PCIe", "h100-pcie"),
     ("NVIDIA A100-SXM4-80GB", "a100-80"), ("NVIDIA A100 80GB PCIe", "a100-80"),
     ("NVIDIA A100-PCIE-40GB", "a100-40"), ("NVIDIA GeForce RTX 4090", "4090"),
     ("Tesla V100-SXM2-32GB", "v100-32"), ("Tesla T4", "t4"), ("NVIDIA A10G", "a10g"),
     ("NVIDIA RTX A6000", "a6000"), ("NVIDIA RTX 6000 Ada Generation", "rtx6000-ada")],
)  # fmt: skip
def test_a_device_is_found_by_what_its_driver_calls_it(said, name):
    found = find(said)
    assert found is not None
    assert found.name == name


def test_the_processor_here_is_no_row_of_the_table():
    assert find("cpu") is None


def test_an_unknown_name_lists_all_and_the_nearest():
    with pytest.raises(ConfigError) as caught:
        find("h20")
    assert caught.value.got == "h20"
    assert all(name in caught.value.need for name in names())
    assert caught.value.hint == "--device h200"


def test_no_name_or_alias_stands_for_two():
    said = [devices._plain(one) for device in DEVICES for one in (device.name, *device.aliases)]
    assert len(said) == len(set(said))


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.name)
def test_the_facts_of_a_device_agree_with_each_other(device):
    size = int(device.title.split()[-2]) * 10**9
    assert 0.93 * size < device.memory < 1.1 * size  # sold in GB, some of them GiB
    assert device.free < device.memory
    assert device.fp32 < device.fp16
    assert device.bf16 in (None, device.fp16)
    assert device.fp8 is None or abs(device.fp8 / device.fp16 - 2) < 0.05


def test_a_device_without_bf16_computes_in_fp32_unless_asked():
    old, new = find("v100-32"), find("h100")
    assert old is not None
    assert new is not None
    assert old.precision(bf16=None, fp16=None).dtype == torch.float32
    assert "fp16: true" in (old.precision(bf16=None, fp16=None).note or "")
    assert old.precision(bf16=None, fp16=True).dtype == torch.float16
    assert "emulated" in old.precision(bf16=True, fp16=None).reason
    assert old.peak(torch.bfloat16) == old.peak(torch.float32)
    assert new.precision(bf16=None, fp16=None).dtype == torch.bfloat16
    assert new.precision(bf16=False, fp16=None).dtype == torch.float32
    with pytest.raises(ConfigError):
        new.precision(bf16=True, fp16=True)
