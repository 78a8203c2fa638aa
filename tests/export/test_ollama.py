"""A directory for Ollama: one file, and the Modelfile that names it."""

import pytest

from tiny_model import tiny_model
from tiny_tokenizer import load_tiny
from tunesmith.errors import TemplateError
from tunesmith.export.job import Serving
from tunesmith.export.merge import export
from tunesmith.models import gguf as reading
from tunesmith.models import tokenizer as tokenizers

MODELFILE = 'FROM .\n\nTEMPLATE """{{ .Prompt }}"""\n'


def _serving(base, modelfile=MODELFILE, without=""):
    return Serving(tokenizers.load(base), None, ("<|im_end|>",), modelfile, without)


def test_the_modelfile_names_the_file_beside_it(tmp_path):
    base = tiny_model(tmp_path)
    done = export(base, [], tmp_path / "out", serving=_serving(base), format=["ollama"])
    assert done.dtype == "f32"
    text = (tmp_path / "out" / "Modelfile").read_text()
    assert text == MODELFILE.replace("FROM .", "FROM ./model-f32.gguf")
    assert (tmp_path / "out" / "model-f32.gguf").exists()


def test_fewer_bits_may_be_asked_for(tmp_path):
    base = tiny_model(tmp_path)
    done = export(base, [], tmp_path / "out", serving=_serving(base), format=["ollama-q8_0"])
    assert done.dtype == "q8_0"
    assert "FROM ./model-q8_0.gguf" in (tmp_path / "out" / "Modelfile").read_text()


def test_the_template_writes_the_begin_token_so_the_file_adds_none(tmp_path):
    from tokenizers import processors

    base = tiny_model(tmp_path)
    tokenizer = tokenizers.load(base)
    begin = tokenizer.id_of("<|im_start|>")
    tokenizer.backend.post_processor = processors.TemplateProcessing(
        single="<|im_start|> $A",
        pair="<|im_start|> $A $B",
        special_tokens=[("<|im_start|>", begin)],
    )
    tokenizer = tokenizer._replace(bos="<|im_start|>")
    tokenizers.save(tokenizer, base)
    done = export(base, [], tmp_path / "out", serving=_serving(base), format=["ollama", "gguf-f32"])
    for part, adds in zip(done.parts, (False, True), strict=True):
        made = tokenizers.load(reading.convert(part.directory / "model-f32.gguf"))
        assert (made.backend.encode("a").ids[0] == begin) == adds


@pytest.mark.parametrize(
    ("modelfile", "without"), [(None, "its strings cannot be read"), (MODELFILE, "tools: unknown")]
)
def test_what_go_cannot_express_is_refused_before_anything_is_loaded(tmp_path, modelfile, without):
    base, phases = tiny_model(tmp_path), []
    serving = _serving(base, modelfile, without)
    with pytest.raises(TemplateError, match=without):
        export(
            base, [], tmp_path / "out", serving=serving, format=["ollama"], progress=phases.append
        )
    assert phases == []


def test_a_text_that_begins_with_the_begin_token_keeps_it():
    from types import SimpleNamespace

    from tunesmith.export.ollama import FORMATS
    from tunesmith.export.said import Questions, Said

    tokenizer = load_tiny(bos="<|im_start|>")
    begin = tokenizer.id_of("<|im_start|>")
    job = SimpleNamespace(serving=Serving(tokenizer))
    said = Said("tuned", ids=[[5], [begin, 5], [begin, 6], [begin, 6]])
    _, want = FORMATS["ollama"].asks(job, Questions(["a", "b"], [], [], []), said)
    assert want.ids == [[5], [5], [begin, 6], [begin, 6]]
