"""What merging into the dense base changes is measured, not guessed."""

import math
import sys

import pytest
import torch

from tiny_model import tiny_model
from tunesmith.config.model import Quantization
from tunesmith.export import quantised
from tunesmith.export.gate import kl as divergence
from tunesmith.export.proof import Loading, Probe, ask, tuned_model
from tunesmith.export.quantised import note
from tunesmith.models import adapters

NF4 = Quantization(4, "nf4", True)


def test_equal_logits_do_not_diverge_and_a_certain_one_does():
    logits = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    assert divergence(logits, logits + 3) == pytest.approx(0, abs=1e-12)
    certain = torch.tensor([[100.0, 0.0]])
    assert divergence(certain, torch.zeros(1, 2)) == pytest.approx(math.log(2))


@pytest.fixture
def trained(tmp_path):
    base = tiny_model(tmp_path)
    model = tuned_model(base, [], Loading())
    adapters.attach(model, adapters.LoraSpec(4, 8), seed=0)
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    adapters.save_adapter(model, adapter, str(base))
    probes = [Probe([5, 6, 7, 8]), Probe([9, 10, 11])]
    return base, [adapter], ask(tuned_model(base, [adapter], Loading()), probes, based=True)


def test_the_note_holds_both_figures(trained):
    base, adapter, asked = trained
    text = note(base, adapter, asked, Loading(), quantization=NF4)
    held = tuned_model(base, adapter, Loading(), quantization=NF4)
    with torch.no_grad():
        said = torch.cat([held(torch.tensor([p.ids])).logits[0] for p in asked.probes])
    merged = torch.cat(asked.tuned)
    same = (said.argmax(1) == merged.argmax(1)).float().mean()
    assert f"{same:.1%} of 7 positions" in text
    assert f"{divergence(said, merged):.2g} nats" in text
    assert divergence(said, merged) > 1e-4
    assert "4-bit nf4" in text


def test_a_base_in_fp8_is_measured_in_bf16(tmp_path):
    base = tiny_model(tmp_path, hidden_size=64, intermediate_size=128)
    asked = ask(tuned_model(base, [], Loading()), [Probe([5, 6, 7, 8])], based=True)
    text = note(base, [], asked, Loading(), quantization=Quantization(8, "fp8", method="fp8"))
    assert "8-bit fp8" in text
    assert "of 4 positions" in text


def test_far_from_what_was_trained_the_note_says_what_is_near(trained, monkeypatch):
    for far, told in ((0.0, True), (9.0, False)):
        monkeypatch.setattr(quantised, "_FAR", far)
        text = note(*trained, Loading(), quantization=NF4)
        assert ("beside its base in the same bits" in text) == told


def test_where_it_cannot_be_measured_the_note_says_so(trained, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    text = note(*trained, Loading(), quantization=NF4)
    assert "not measured" in text
    assert "tunesmith[bnb]" in text
