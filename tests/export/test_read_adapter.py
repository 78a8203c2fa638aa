"""An adapter is opened by peft over its base."""

import sys

import torch

from tiny_export import adapter
from tiny_model import tiny_model
from tunesmith.export import read_adapter
from tunesmith.export.proof import Loading, Probe, logits, tuned_model
from tunesmith.export.said import Questions
from tunesmith.models import tokenizer as tokenizers

ASKED = Questions(["hello"], [], [[5, 6, 7, 8]], [[5, 6]], new_tokens=4)


def _both(tmp_path):
    base = tiny_model(tmp_path)
    directory = adapter(base, tmp_path / "a")
    tokenizers.save(tokenizers.load(base), directory)
    (want,) = logits(tuned_model(base, [directory], Loading()), [Probe([5, 6, 7, 8])])
    return directory, ASKED._replace(base=str(base)), want


def test_peft_opens_it_over_the_base(tmp_path):
    directory, asked, want = _both(tmp_path)
    said = read_adapter.read(directory, asked)
    assert said.reader.startswith("peft")
    torch.testing.assert_close(said.rows[0], want, rtol=1e-4, atol=1e-5)


def test_without_peft_we_open_it_ourselves_and_say_so(tmp_path, monkeypatch):
    directory, asked, want = _both(tmp_path)
    monkeypatch.setitem(sys.modules, "peft", None)
    monkeypatch.setattr(read_adapter.importlib.util, "find_spec", lambda name: None)
    said = read_adapter.read(directory, asked)
    torch.testing.assert_close(said.rows[0], want)
    assert "peft is not installed" in said.notes[-1]
