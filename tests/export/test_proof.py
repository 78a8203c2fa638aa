"""A wrong export is caught: too far off, erased by rounding, other ids, another template."""

import pytest
import torch

from tiny_export import adapter
from tiny_model import tiny_model
from tiny_tokenizer import load_tiny
from tunesmith.errors import ModelError
from tunesmith.export.job import OF_DTYPE
from tunesmith.export.proof import (
    PROBES,
    Asked,
    Loading,
    Probe,
    ask,
    expected,
    logits,
    probes_of,
    prove,
    questions,
    stored_dtype,
    tuned_model,
    worn_note,
)
from tunesmith.export.said import Said
from tunesmith.models import tokenizer as tokenizers
from tunesmith.models.load import load_model

F32 = {"bound": OF_DTYPE[torch.float32], "compute": torch.float32, "where": "out"}


def _logits(seed=0, positions=20):
    return torch.randn(positions, 50, generator=torch.Generator().manual_seed(seed)) * 4


def _asked(tuned, base=None):
    return Asked([], [tuned[:7], tuned[7:]], None if base is None else [base[:7], base[7:]])


def compare(asked, exported, **more):
    """Logits alone."""
    want, found = Said("tuned", rows=asked.tuned), Said("stock", rows=exported)
    return prove(asked, want, found, **more)


def test_equal_logits_are_proved():
    proof = compare(_asked(_logits(), _logits(1)), [_logits()], **F32)
    assert proof.largest_difference == 0
    assert proof.argmax_equal == 1
    assert proof.worn == 0
    assert proof.positions == 20


def test_one_logit_too_far_off_is_refused_and_the_number_named():
    wrong = _logits()
    wrong[3, 7] += 0.01
    with pytest.raises(ModelError) as caught:
        compare(_asked(_logits()), [wrong], **F32)
    assert "0.01" in str(caught.value)
    assert caught.value.where == "out"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_logit_that_is_not_finite_is_refused(value):
    wrong = _logits()
    wrong[0, 0] = value
    with pytest.raises(ModelError):
        compare(_asked(_logits()), [wrong], **F32)


def test_another_vocabulary_is_refused():
    with pytest.raises(ModelError, match="out"):
        compare(_asked(_logits()), [_logits()[:, :49]], **F32)


def test_what_16_bits_may_cost_32_bits_may_not():
    near = _logits() + 0.02
    assert compare(_asked(_logits()), [near], **(F32 | {"bound": OF_DTYPE[torch.bfloat16]}))
    with pytest.raises(ModelError):
        compare(_asked(_logits()), [near], **F32)


def test_an_adapter_that_rounding_has_erased_is_refused_and_a_worn_one_is_noted():
    base, tuned = _logits(), _logits() + _logits(1) * 0.001
    bf16 = F32 | {"bound": OF_DTYPE[torch.bfloat16]}
    with pytest.raises(ModelError, match="float32"):
        compare(_asked(tuned, base), [base], **bf16)
    half = compare(_asked(tuned, base), [base + (tuned - base) / 2], **bf16)
    assert "costs 50%" in worn_note(half, "bfloat16")[0]
    assert worn_note(compare(_asked(tuned, base), [tuned], **bf16), "bfloat16") == []
    untrained = compare(_asked(base, base), [base], **bf16)
    assert untrained.worn is None


def test_probes_are_the_rows_first_and_then_many_scripts():
    own = Probe([1, 2, 3])
    found = probes_of(load_tiny(), [own, Probe([])])
    assert found[0] == own
    assert 2 < len(found) <= PROBES
    assert all(probe.ids for probe in found)
    assert len(probes_of(load_tiny(), [own] * 20)) == PROBES


def test_asking_says_what_base_and_adapter_say(tmp_path):
    base = tiny_model(tmp_path)
    directory = adapter(base, tmp_path / "a")
    probes = [Probe([5, 6, 7, 8]), Probe([9, 10])]
    asked = ask(tuned_model(base, [directory], Loading()), probes, based=True)
    plain = logits(load_model(base, dtype=torch.float32), probes)
    for got, want in zip(asked.base, plain, strict=True):
        torch.testing.assert_close(got, want)
    assert (asked.tuned[0] - plain[0]).abs().max() > 0.1
    assert [len(x) for x in asked.tuned] == [4, 2]


def test_where_modules_were_trained_in_full_there_is_no_base_to_ask(tmp_path):
    base = tiny_model(tmp_path, tied=False)
    directory = adapter(base, tmp_path / "a", additional_target=("lm_head",))
    asked = ask(tuned_model(base, [directory], Loading()), [Probe([5, 6])], based=True)
    assert asked.base is None


def test_few_bits_that_were_asked_for_are_told_and_not_refused():
    base, tuned = _logits(), _logits() + _logits(1) * 0.001
    bf16 = F32 | {"bound": OF_DTYPE[torch.bfloat16], "rounds": True}
    proof = compare(_asked(tuned, base), [base + _logits(2) * 0.003], **bf16)
    assert proof.worn > 1
    assert "further than the adapter did" in worn_note(proof, "q8_0")[0]


def test_what_is_asked_and_expected_belongs_together(tmp_path):
    base = tiny_model(tmp_path)
    tokenizer = tokenizers.load(base)
    probes = [Probe([5, 6, 7, 8], [{"role": "user", "content": "x"}]), Probe([9, 10])]
    asked = ask(tuned_model(base, [], Loading()), probes, based=False)
    asking = questions(tokenizer, probes, Loading())
    want = expected(asked, tokenizer, "{{ 1 }}", asking.texts)
    assert len(want.ids) == 2 * len(asking.texts)
    assert want.prompts == [[5, 6, 7, 8]]
    assert len(asking.prompts) == 1
    assert [len(row) for row in want.rows] == [len(row) for row in asking.rows]
    assert len(want.answers) == len(asking.begun)
    for prompt, answer, steps in zip(asking.begun, want.answers, want.steps, strict=True):
        model = load_model(base, dtype=torch.float32)
        with torch.no_grad():
            said = model(torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1]
        assert said.argmax(1).tolist() == answer
        torch.testing.assert_close(steps, said, rtol=1e-4, atol=1e-5)


def test_the_stored_type_is_that_of_most_bytes_and_a_quantised_one_is_refused(tmp_path):
    from safetensors.torch import save_file

    assert stored_dtype(tiny_model(tmp_path)) == torch.float32
    few = {"a": torch.zeros(2), "b": torch.zeros(99, dtype=torch.bfloat16)}
    for name, extra in (("bf16", {}), ("int", {"c": torch.zeros(999, dtype=torch.int8)})):
        (tmp_path / name).mkdir()
        save_file({**few, **extra}, tmp_path / name / "model.safetensors")
    assert stored_dtype(tmp_path / "bf16") == torch.bfloat16
    with pytest.raises(ModelError, match="I8"):
        stored_dtype(tmp_path / "int")
