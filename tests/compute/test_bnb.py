"""The extra: quiet where it is there, named where it is not."""

import logging
import sys

import pytest

from tunesmith.compute.bnb import library
from tunesmith.errors import ConfigError


def test_a_missing_library_comes_with_its_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ConfigError) as caught:
        library("quantization_bit", instead="remove it")
    assert caught.value.where == "quantization_bit"
    assert caught.value.hint == 'pip install "tunesmith[bnb]", or remove it'


def test_one_that_does_not_load_says_why(monkeypatch, tmp_path):
    (tmp_path / "bitsandbytes.py").write_text("import a_library_that_is_gone\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "bitsandbytes", raising=False)
    with pytest.raises(ConfigError) as caught:
        library("optim", instead="optim: adamw")
    assert "a_library_that_is_gone" in caught.value.got


def test_the_level_of_its_log_is_left_as_it_was():
    log = logging.getLogger("bitsandbytes.backends.cpu.ops")
    before = log.level
    assert library("optim", instead="optim: adamw").__name__ == "bitsandbytes"
    assert log.level == before
