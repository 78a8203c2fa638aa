"""Passes that requests share: the logits of each alone."""

import pytest
import torch

from tiny_model import KINDS, tiny_model
from tunesmith.infer.forward import Packed, Plain, alone_or_not, forward_for, packs
from tunesmith.models.load import load_model

PROMPTS = ([11, 5, 23, 7, 42, 3, 19, 2, 29, 13, 37, 4, 41, 8, 17, 6, 31, 12, 9, 21], [31, 8], [5])


def loaded(directory, dtype=torch.float32):
    return load_model(directory, dtype=dtype).eval()


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_those_of_one_whole_pass(tmp_path, kind):
    model = loaded(tiny_model(tmp_path, kind))
    assert packs(model)
    packed = Packed(model)
    states = [packed.begin() for _ in PROMPTS]
    packed.extend([(states[0], PROMPTS[0][:13])])
    packed.extend([(states[0], PROMPTS[0][13:17]), (states[1], PROMPTS[1][:1])])
    found = packed.extend(
        [
            (states[2], PROMPTS[2]),
            (states[0], PROMPTS[0][17:]),
            (states[1], PROMPTS[1][1:]),
        ]
    )
    for logits_V, prompt in zip(found, (PROMPTS[2], *PROMPTS[:2]), strict=True):
        with torch.inference_mode():
            wanted = model(input_ids=torch.tensor([prompt])).logits[0, -1]
        torch.testing.assert_close(logits_V, wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_request_gets_the_same_bits_whatever_is_computed_beside_it(tmp_path, dtype):
    wide = {"hidden_size": 256, "intermediate_size": 640, "vocab": 1024}
    assert alone_or_not(Packed(loaded(tiny_model(tmp_path, **wide), dtype)))


def test_products_of_too_few_rows_would_be_other_bits(tmp_path):
    """What `ROWS` is for, on a processor."""
    wide = {"hidden_size": 256, "intermediate_size": 640, "vocab": 1024}
    assert not alone_or_not(Packed(loaded(tiny_model(tmp_path, **wide)), rows=1))


@pytest.mark.parametrize("kind", ["mamba", "falcon"])
def test_a_model_whose_layers_keep_something_else_is_asked_one_by_one(tmp_path, kind):
    model = loaded(tiny_model(tmp_path, kind, **({"state_size": 4} if kind == "mamba" else {})))
    assert isinstance(forward_for(model), Plain)
    plain = Plain(model)
    own = plain.begin()
    plain.extend([(own, PROMPTS[0][:9])])
    (found,) = plain.extend([(own, PROMPTS[0][9:])])
    with torch.inference_mode():
        wanted = model(input_ids=torch.tensor([PROMPTS[0]])).logits[0, -1]
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
