"""Four bits come from llama.cpp's own quantiser, which is asked for where it is missing."""

import pytest

from tunesmith.errors import ConfigError, ModelError
from tunesmith.export import gguf_few_bits


def test_where_it_is_missing_the_command_that_brings_it_is_told(monkeypatch):
    monkeypatch.setattr(gguf_few_bits.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="gguf-q4_k_m") as caught:
        gguf_few_bits.require()
    assert 'pip install "tunesmith[gguf-quantize]"' in caught.value.hint


@pytest.mark.slow
def test_what_it_cannot_read_is_one_error(tmp_path):
    pytest.importorskip("llama_cpp", reason='pip install "tunesmith[gguf-quantize]"')
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelError, match=r"b\.gguf"):
        gguf_few_bits.quantise(tmp_path / "a.gguf", tmp_path / "b.gguf")
